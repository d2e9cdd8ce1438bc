import { setTimeout as sleep } from 'node:timers/promises';
import type { Machine } from '../kit/network-lab.js';
import type { Running } from '../kit/running.js';

/** ping(8) ten times a second until it is stopped. */
export class Pings {
  readonly #running: Running;

  constructor(machine: Machine, target: string) {
    this.#running = machine.spawn('ping', '-i', '0.1', '-D', target);
  }

  /** @returns how many were sent, and which of them got no answer */
  async stop(): Promise<{ readonly sent: number; readonly lost: readonly number[] }> {
    await sleep(1_000); // the last answers
    await this.#running.stop('SIGINT');
    const { stdout } = this.#running;
    const answered = new Set(
      [...stdout.matchAll(/icmp_seq=(\d+) ttl=/g)].map(([, number]) => Number(number)),
    );
    // The very last may have been sent in the moment of the signal.
    const sent = Math.max(...answered);
    const lost = Array.from({ length: sent }, (_, i) => i + 1).filter((number) => !answered.has(number));
    return { sent, lost };
  }
}

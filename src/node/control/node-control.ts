import { setTimeout as sleep } from 'node:timers/promises';
import type { ControlRequest } from './control.js';
import type { ControlHandler } from './control-connection.js';
import type { RunningNode } from './running-node.js';

/** Limits and default of the interval between two answers, milliseconds. */
const SHORTEST = 100;
const LONGEST = 3_600_000;
const DEFAULT = 1_000;

/** Carries out the requests to a node. */
export function nodeControl(node: RunningNode): ControlHandler {
  return async (request, answer, signal) => {
    switch (request.command) {
      case 'status':
        answer(node.status());
        break;
      case 'watch':
        for (; !signal.aborted; await pause(request.interval, signal)) answer(node.status());
        break;
      case 'ping':
        await ping(node, request, answer, signal);
        break;
      case 'leave':
        answer(await node.leave(request.force === true));
        break;
      case 'share':
        answer({ shares: await node.share(request.shares) });
        break;
      case 'trust':
        answer(node.trust(request.node));
        break;
      case 'readdress': {
        node.readdress(request.hubKey, request.addresses);
        const { network, self } = node.status();
        answer({ network: network.name, name: self.name });
        break;
      }
      case 'admin':
        answer(await node.admin(request.request));
        break;
    }
  };
}

async function ping(
  node: RunningNode,
  { node: name, count = Infinity, interval }: Extract<ControlRequest, { command: 'ping' }>,
  answer: (value: object) => void,
  signal: AbortSignal,
): Promise<void> {
  for (let sequence = 1; sequence <= count && !signal.aborted; sequence++) {
    const started = performance.now();
    const result = await unlessAborted(node.ping(name, sequence), signal);
    if (result === undefined) return;
    answer(result);
    if (sequence < count) await pause(interval, signal, performance.now() - started);
  }
}

/** @returns undefined once the signal aborts. Leaves no listener behind: some pings go on for days */
function unlessAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T | undefined> {
  return new Promise((resolve, reject) => {
    const stop = (): void => resolve(undefined);
    signal.addEventListener('abort', stop, { once: true });
    if (signal.aborted) stop();
    void work.then(resolve, reject).finally(() => signal.removeEventListener('abort', stop));
  });
}

/** @param spent the part of the interval that has passed, milliseconds */
async function pause(interval = DEFAULT, signal: AbortSignal, spent = 0): Promise<void> {
  const whole = Math.min(LONGEST, Math.max(SHORTEST, interval || DEFAULT));
  await sleep(Math.max(0, whole - spent), undefined, { signal }).catch(() => {});
}

import type { RelayInterface } from './relay/index.js';

/** A relay without UDP: every frame goes through channels. For tests. */
export class ChannelRelay implements RelayInterface {
  readonly port = 9;
  readonly attached = new Set<number>();
  readonly #onFrame: (to: number, from: number, datagram: Uint8Array) => void;

  constructor(onFrame: (to: number, from: number, datagram: Uint8Array) => void) {
    this.#onFrame = onFrame;
  }

  attach(node: number): { session: Uint8Array; key: Uint8Array } {
    this.attached.add(node);
    return { session: new Uint8Array(8), key: new Uint8Array(32) };
  }

  detach(node: number): void {
    this.attached.delete(node);
  }

  fromChannel(from: number, to: number, datagram: Uint8Array): void {
    if (this.attached.has(from) && this.attached.has(to)) this.#onFrame(to, from, datagram);
  }

  counters(): never {
    throw new Error('it counts nothing');
  }

  async close(): Promise<void> {}
}

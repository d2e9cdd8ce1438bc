import type { RelayCounters } from './counters.js';

export interface RelayOptions {
  /** UDP port on every address of the machine; 0 lets the kernel choose one. */
  readonly port: number;
  /**
   * A frame for a member that is attached but has bound no UDP address: send it through its channel. The bytes are the
   * receiver's own. Whoever cannot send drops it: do not let frames queue up without bound behind a slow channel.
   */
  readonly onFrame: (to: number, from: number, datagram: Uint8Array) => void;
  /** The relay's thread has died; the relay is closed. */
  readonly onFailed: (error: Error) => void;
  /** What one member may send, bits a second; 10^9 unless given. */
  readonly memberRate?: number;
  /** How many may be attached at once; 65 536 unless given. */
  readonly maxMembers?: number;
}

/** By which a member binds its UDP address: `RelayCredentials` of the wire. */
export interface RelaySession {
  /** 8 bytes. */
  readonly session: Uint8Array;
  /** 32 bytes. */
  readonly key: Uint8Array;
}

/** The relay as the hub's server sees it. `Relay.start(options): Promise<Relay>` makes one. */
export interface RelayInterface {
  /** The UDP port it has. */
  readonly port: number;
  /**
   * Relays for a member from now on. One that is attached already gets a new session, and is bound by none: call `detach`
   * only when its newest channel ends.
   *
   * @param node its id, 1 to 2^32 - 1
   * @throws LametunError `refused` when `maxMembers` are attached
   */
  attach(node: number): RelaySession;
  /** Relays nothing for it, and nothing to it, any more. Harmless when it is not attached. */
  detach(node: number): void;
  /**
   * A frame that came through a member's channel. Whatever is wrong with it, it is dropped and counted.
   *
   * @param from whose channel it is
   */
  fromChannel(from: number, to: number, datagram: Uint8Array): void;
  counters(): RelayCounters;
  close(): Promise<void>;
}

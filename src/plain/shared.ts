/** Why a packet or datagram was dropped. Counted, never thrown: anyone on the Internet can cause these. */
export const DROP = [
  /** Not one whole IP packet behind matching packet information. */
  'malformed',
  /** From an address that is not the server's, or not one given with --peer. */
  'stranger',
  /** For a destination that was never heard, unless there is exactly one client. */
  'no-client',
  /** The tables of clients are full. Known clients are still served. */
  'table-full',
  /** The kernel has no route to the other side, or the other side's port is closed. */
  'unreachable',
  /** Larger than a datagram or the path allows. */
  'too-big',
  /** The kernel had no room for it. */
  'congested',
  /** Arrived while the device was down. */
  'device-down',
  /** A datagram of the tunnel itself, which the routes lead back into it. */
  'loop',
] as const;
export type DropReason = (typeof DROP)[number];

/** What a tunnel counts: inner packets and their bytes, without packet information. */
export const COUNT = {
  packetsOut: 0,
  bytesOut: 1,
  packetsIn: 2,
  bytesIn: 3,
  /** How many clients there are. */
  clients: 4,
  /** The number of the server's address in use. */
  server: 5,
  /** Drops by reason begin here, in the order of `DROP`. */
  drops: 6,
  /** Failed calls of the socket begin here, by errno. */
  errors: 6 + DROP.length,
} as const;
/** asm-generic/errno.h ends at 133. */
const ERRNOS = 134;

/** The counter for a drop reason. */
export const dropCounter = (reason: DropReason): number => COUNT.drops + DROP.indexOf(reason);

/**
 * What the two threads of a tunnel share. Only the worker writes counters and only the main thread reads them,
 * so they need no locks. Doubles are exact to 2^53.
 */
export class SharedState {
  readonly counters: Float64Array<SharedArrayBuffer>;
  readonly #stop: Int32Array<SharedArrayBuffer>;

  readonly buffer: SharedArrayBuffer;

  /** @param buffer the other thread's; a new one unless given */
  constructor(buffer = new SharedArrayBuffer(8 + 8 * (COUNT.errors + ERRNOS))) {
    this.buffer = buffer;
    this.#stop = new Int32Array(buffer, 0, 1);
    this.counters = new Float64Array(buffer, 8);
  }

  /** Asks the worker to end. It checks when it wakes up. */
  stop(): void {
    Atomics.store(this.#stop, 0, 1);
  }

  get stopping(): boolean {
    return Atomics.load(this.#stop, 0) === 1;
  }
}

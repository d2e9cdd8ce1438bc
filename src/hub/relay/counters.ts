/** Why the relay drops a datagram. Counted, never thrown: anyone can cause most of these. */
const DROPS = [
  'malformed', // neither a relay frame nor a bind
  'unbound', // a frame from an unbound endpoint
  'unknown-member', // for an id that is not attached
  'to-self',
  'not-relayed', // too large, or neither a WireGuard message nor a probe
  'over-rate', // above the rate of one member
  'over-share', // the relay is overloaded, and this member is among the largest senders
  'channel-busy', // more frames to or from channels than are read
  'overflow', // dropped by the kernel: its queue was full, or the sender was thinned out
  'bad-bind', // of no session, or not made with its key
  'replayed-bind', // its sequence has not grown
  'congested', // the kernel had no room for it
  'unreachable', // the kernel would not send it there
  'too-big', // larger than the path allows
] as const;
export type RelayDrop = (typeof DROPS)[number];

/** Other counters. */
const COUNTS = [
  'udp-frames-in',
  'udp-bytes-in',
  'udp-frames-out',
  'udp-bytes-out',
  'channel-frames-in',
  'channel-bytes-in',
  'channel-frames-out',
  'channel-bytes-out',
  'bound', // members that are bound now
  'binds',
  'challenges',
  'cpu', // that the worker has used, ms
] as const;
export type RelayCount = (typeof COUNTS)[number];

/** Frames, and their bytes without the header. */
interface Traffic {
  readonly frames: number;
  readonly bytes: number;
}

export interface RelayCounters {
  /** Accepted frames of members; some may have been dropped later. */
  readonly in: { readonly udp: Traffic; readonly channel: Traffic };
  readonly out: { readonly udp: Traffic; readonly channel: Traffic };
  /** Members with a bound endpoint now. */
  readonly bound: number;
  readonly binds: number;
  readonly challenges: number;
  /** Dropped datagrams by reason; only reasons that occurred. */
  readonly dropped: Readonly<Partial<Record<RelayDrop, number>>>;
  /** CPU time that the relay's thread has used, milliseconds, with up to 100 ms of its work still missing. */
  readonly cpu: number;
}

const NAMES = [...DROPS, ...COUNTS] as const;
type Name = RelayDrop | RelayCount;

/** The index of each counter in the memory. */
export const AT = Object.fromEntries(NAMES.map((name, i) => [name, i])) as Readonly<Record<Name, number>>;

/** Counters in shared memory: one thread counts, any may read. */
export class Counters {
  readonly buffer: SharedArrayBuffer;
  readonly values: Float64Array<SharedArrayBuffer>;

  /** @param buffer that of the other thread's; without it, a new one is made */
  constructor(buffer = new SharedArrayBuffer(8 * NAMES.length)) {
    this.buffer = buffer;
    this.values = new Float64Array(buffer);
  }

  add(at: number, times = 1): void {
    this.values[at]! += times;
  }
}

/** The sum of several threads' counters. */
export function sumCounters(all: readonly Counters[]): RelayCounters {
  const sum = (name: Name): number => all.reduce((total, { values }) => total + values[AT[name]]!, 0);
  return {
    in: {
      udp: { frames: sum('udp-frames-in'), bytes: sum('udp-bytes-in') },
      channel: { frames: sum('channel-frames-in'), bytes: sum('channel-bytes-in') },
    },
    out: {
      udp: { frames: sum('udp-frames-out'), bytes: sum('udp-bytes-out') },
      channel: { frames: sum('channel-frames-out'), bytes: sum('channel-bytes-out') },
    },
    bound: sum('bound'),
    binds: sum('binds'),
    challenges: sum('challenges'),
    dropped: Object.fromEntries(DROPS.map((name) => [name, sum(name)] as const).filter(([, n]) => n > 0)),
    cpu: sum('cpu'),
  };
}

import type { MeansInUse } from './means.js';
import type { DropReason } from './shared.js';
import type { TunnelEnd } from './tunnel.js';

/** Events of a tunnel. `lametun --json` prints them as they are. */
export type PlainEvent =
  | StartEvent
  /** Packets move from now on, with the offloads that work on this machine. */
  | { readonly event: 'ready'; readonly offloads: MeansInUse }
  | LearnedEvent
  | PacketEvent
  /** How many packets and learned addresses were not reported, because there were too many. */
  | { readonly event: 'missed'; readonly count: number }
  | StatsEvent
  /** A problem that the tunnel survives. */
  | { readonly event: 'warning'; readonly message: string }
  /** The tunnel has ended, and everything that it set up is undone. */
  | { readonly event: 'end'; readonly reason: TunnelEnd; readonly message: string };

export interface StartEvent {
  readonly event: 'start';
  readonly role: 'listen' | 'client';
  readonly device: string;
  /** Whether the device existed before. */
  readonly attached: boolean;
  /** The local UDP port. */
  readonly port: number;
  /** The device's MTU in bytes. */
  readonly mtu: number;
  /** Client: the server's addresses in the order in which they are tried. */
  readonly servers: readonly string[];
  readonly encrypted: false;
  readonly authenticated: false;
}

/** The listener learned the outer address of an inner address. */
export interface LearnedEvent {
  readonly event: 'learned';
  readonly inner: string;
  readonly outer: string;
}

/** One packet went through the tunnel. */
export interface PacketEvent {
  readonly event: 'packet';
  readonly direction: 'out' | 'in';
  /** Bytes of the IP packet. */
  readonly length: number;
  readonly outer: string;
  readonly source: string;
  readonly destination: string;
  /** `TCP`, `ICMP`, ... */
  readonly protocol: string;
  readonly sourcePort?: number;
  readonly destinationPort?: number;
}

/** Totals since the start, once a second. */
export interface StatsEvent {
  readonly event: 'stats';
  readonly packetsOut: number;
  /** Bytes of the IP packets. */
  readonly bytesOut: number;
  readonly packetsIn: number;
  readonly bytesIn: number;
  /** Listener: how many clients it knows. */
  readonly clients: number;
  /** Client: the server's address in use. */
  readonly server?: string;
  /** Only reasons with a count above 0. */
  readonly drops: Readonly<Partial<Record<DropReason, number>>>;
}

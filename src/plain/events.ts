import type { MeansInUse } from './means.js';
import type { DropReason } from './shared.js';
import type { TunnelEnd } from './tunnel.js';

/** What a tunnel tells the program that runs it; `lametun --json` prints these as they are. */
export type PlainEvent =
  | StartEvent
  /** Packets move from now on, with the help of what works on this machine. */
  | { readonly event: 'ready'; readonly offloads: MeansInUse }
  | LearnedEvent
  | PacketEvent
  /** So many packets, and addresses that were learned, are not told of: there were too many to tell. */
  | { readonly event: 'missed'; readonly count: number }
  | StatsEvent
  /** Something is wrong that the tunnel survives. */
  | { readonly event: 'warning'; readonly message: string }
  /** The tunnel is over, and what it had set up is undone. */
  | { readonly event: 'end'; readonly reason: TunnelEnd; readonly message: string };

export interface StartEvent {
  readonly event: 'start';
  readonly role: 'listen' | 'client';
  readonly device: string;
  /** Whether the device was there before. */
  readonly attached: boolean;
  /** The local UDP port. */
  readonly port: number;
  /** The device's MTU in bytes. */
  readonly mtu: number;
  /** The server's addresses in the order in which they are tried; for the client. */
  readonly servers: readonly string[];
  readonly encrypted: false;
  readonly authenticated: false;
}

/** The listener learned where an inner address is to be found. */
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
  /** How many clients the listener knows now. */
  readonly clients: number;
  /** The server's address in use now; for the client. */
  readonly server?: string;
  /** Only reasons that occurred. */
  readonly drops: Readonly<Partial<Record<DropReason, number>>>;
}

import type { OffloadsInUse } from './offloads.js';

/**
 * What the two threads of a tunnel say to each other, in rings of fixed records. Keys travel to the worker in these
 * records and nowhere else, and are wiped from them when they are read.
 */

/** Commands of the control plane, executed in their order. */
export const COMMAND = {
  installKeypair: 1,
  useKeypair: 2,
  dropKeypair: 3,
  keepalive: 4,
  discardQueue: 5,
  setEndpoint: 6,
  forgetSource: 7,
  addPeer: 8,
  removePeer: 9,
  setMtu: 10,
  setUp: 11,
  setSocket: 12,
  /** Something that does not fit a record waits at the message port: see `PortMessage`. */
  readPort: 13,
  stop: 14,
  /** Where the relay is, an `ENDPOINT` record. */
  setRelay: 15,
  /** Whether our own address in an `ENDPOINT` record is of use, if the peer is still there and still writes to it. */
  useSource: 16,
} as const;

/**
 * A command: what u32, peer u32, local and remote index u32, an argument i32; four times f64 (`Keypair`); then the
 * sending and the receiving key, or an `ENDPOINT` record.
 */
export const COMMAND_RECORD = {
  command: 0,
  peer: 4,
  localIndex: 8,
  remoteIndex: 12,
  argument: 16,
  createdAt: 24,
  rekeySendingAt: 32,
  rekeyReceivingAt: 40,
  rejectAt: 48,
  sendingKey: 56,
  receivingKey: 88,
  endpoint: 56,
  size: 144,
} as const;
export const COMMANDS = 4096;

/** What goes to the worker's message port, announced by `COMMAND.readPort`. */
export type PortMessage =
  | { readonly kind: 'rows'; readonly page: SharedArrayBuffer }
  | { readonly kind: 'allowed-ips'; readonly table: Int32Array };

/** What comes from the worker's message port. */
export type WorkerMessage =
  | { readonly kind: 'offloads'; readonly inUse: OffloadsInUse }
  /** It has ended, and why. */
  | { readonly kind: 'device-gone' | 'stopped' };

/**
 * Reports of the worker. Each is: what u32, peer u32, length u32, by how many commands its endpoint was set before u32,
 * then an `ENDPOINT` record, then a datagram.
 */
export const REPORT = {
  /** A datagram that is no transport message. */
  datagram: 1,
  /** An authentic packet of a peer came from another address, or to another of ours, or by another interface. */
  roaming: 2,
  /** A datagram that is none of WireGuard's. */
  sideChannel: 3,
} as const;
export const REPORT_RECORD = {
  report: 0,
  peer: 4,
  length: 8,
  settings: 12,
  endpoint: 16,
  datagram: 104,
  /** A probe may be as long as whatever passes: it finds out whether that does. */
  size: 104 + 1472,
} as const;
export const REPORTS = 1024;
/** Messages of the side channel may take so many of them: handshakes are not to wait for it. */
export const REPORTS_SIDE_CHANNEL = REPORTS / 2;
/** And handshakes, which strangers can send, too, so many: peers that roam are not to wait for those. */
export const REPORTS_DATAGRAM = REPORTS - 64;

/** Peers whose rows have news; a peer is in it at most once. */
export const WAKE_UP_RECORD = { peer: 0, size: 8 } as const;
export const WAKE_UPS = 65_536;

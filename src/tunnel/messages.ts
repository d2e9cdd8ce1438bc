import type { OffloadsInUse } from './offloads.js';

/**
 * Messages between the two threads of a tunnel, in rings of fixed records. Keys go to the worker in these records only,
 * and are erased from them when they have been read.
 */

/** Commands of the control plane, executed in order. */
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
  /** A `PortMessage`, which does not fit a record, waits at the message port. */
  readPort: 13,
  stop: 14,
  /** An address that relay frames may come from, an `ENDPOINT` record, and which of the MAX_RELAYS it is. */
  setRelay: 15,
  /** Whether to use the source address in an `ENDPOINT` record, if that is still the peer's. */
  useSource: 16,
} as const;

/**
 * A command: `COMMAND` u32, peer u32, local and remote index u32, an argument i32; four times f64 (`Keypair`); then the
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

/** How many addresses relay frames may come from: the relay's own, and a socket that stands for it. */
export const MAX_RELAYS = 2;

/** Messages to the worker's port, announced by `COMMAND.readPort`. */
export type PortMessage =
  | { readonly kind: 'rows'; readonly page: SharedArrayBuffer }
  | { readonly kind: 'allowed-ips'; readonly table: Int32Array };

/** Messages from the worker's port. */
export type WorkerMessage =
  | { readonly kind: 'offloads'; readonly inUse: OffloadsInUse }
  /** Why the worker has ended. */
  | { readonly kind: 'device-gone' | 'stopped' };

/**
 * Reports of the worker. Each has: `REPORT` u32, peer u32, length u32, how many commands had set the peer's endpoint
 * u32, an `ENDPOINT` record, a datagram.
 */
export const REPORT = {
  /** A WireGuard message other than transport data. */
  datagram: 1,
  /** An authentic packet came from another address, to another local address, or on another interface. */
  roaming: 2,
  /** A datagram of the side channel. */
  sideChannel: 3,
} as const;
export const REPORT_RECORD = {
  report: 0,
  peer: 4,
  length: 8,
  settings: 12,
  endpoint: 16,
  datagram: 104,
  /** A probe may fill an Ethernet frame, to find out whether such a length passes. */
  size: 104 + 1472,
} as const;
export const REPORTS = 1024;
/** The most places that the side channel may take, so that handshakes do not wait for it. */
export const REPORTS_SIDE_CHANNEL = REPORTS / 2;
/** The most places that handshakes, which strangers can send, may take, so that roaming does not wait for them. */
export const REPORTS_DATAGRAM = REPORTS - 64;

/** Peers whose rows have changed; a peer is in the ring at most once. */
export const WAKE_UP_RECORD = { peer: 0, size: 8 } as const;
export const WAKE_UPS = 65_536;

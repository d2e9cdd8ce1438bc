import { allocate, type Memory } from '../linux/ffi/memory.js';
import { ENDPOINT } from '../packets/udp-batch.js';
import type { Keypair } from '../wireguard/keypair.js';
import type { PeerNumber, ReceiverIndex } from '../wireguard/numbers.js';
import { REPLAY, replayReset } from '../wireguard/replay.js';
import { KeyMemory, type KeySlot } from './keys.js';
import type { Rows } from './rows.js';
import type { Waiting } from './waiting.js';

/** A keypair with everything that sealing and opening needs. */
export interface Session {
  readonly peer: PeerState;
  readonly keypair: Keypair;
  readonly keys: KeySlot;
  /** The counter of the next packet to send. */
  counter: number;
  readonly window: Uint32Array;
  /** Whether anything was received under it; until then its initiator may not have it. */
  confirmed: boolean;
}

/** What the worker knows about a peer. */
export interface PeerState extends Waiting {
  readonly id: PeerNumber;
  readonly row: Float64Array;
  readonly at: number;
  /** Its `ENDPOINT` record; the name has length 0 while the endpoint is not known. */
  readonly endpoints: Memory;
  readonly endpoint: number;
  /**
   * How many commands have set the endpoint, modulo 2^32. The control plane ignores reports from before the last one.
   */
  settings: number;
  current: Session | undefined;
}

const ENDPOINTS_PER_PAGE = 256;

/** The worker's tables: peers by number, sessions by receiver index. */
export class Peers {
  readonly #rows: Rows;
  readonly #peers: (PeerState | undefined)[] = [];
  /** By receiver index as a signed integer: half of the unsigned ones are too large for a fast hash. */
  readonly #sessions = new Map<number, Session>();
  readonly #keys = new KeyMemory();
  readonly #windows: Uint32Array[] = [];
  readonly #endpointPages: Memory[] = [];

  constructor(rows: Rows) {
    this.#rows = rows;
  }

  get(id: PeerNumber): PeerState | undefined {
    return this.#peers[id];
  }

  add(id: PeerNumber): void {
    const page = Math.floor(id / ENDPOINTS_PER_PAGE);
    while (this.#endpointPages.length <= page) {
      this.#endpointPages.push(allocate(ENDPOINTS_PER_PAGE * ENDPOINT.size));
    }
    const endpoints = this.#endpointPages[page]!;
    const endpoint = (id % ENDPOINTS_PER_PAGE) * ENDPOINT.size;
    endpoints.bytes.fill(0, endpoint, endpoint + ENDPOINT.size);
    this.#peers[id] = {
      id,
      row: this.#rows.array(id),
      at: this.#rows.offset(id),
      endpoints,
      endpoint,
      settings: 0,
      current: undefined,
      waiting: [],
      waitingBytes: 0,
    };
  }

  /** Forgets a peer. End its sessions first. */
  remove(id: PeerNumber): void {
    this.#peers[id] = undefined;
  }

  session(localIndex: ReceiverIndex): Session | undefined {
    return this.#sessions.get(localIndex | 0);
  }

  /** @param at where the sending and the receiving key begin in `bytes`; they are copied */
  beginSession(peer: PeerState, keypair: Keypair, bytes: Uint8Array, at: number): void {
    const window = this.#windows.pop() ?? new Uint32Array(REPLAY.words);
    replayReset(window, 0);
    const keys = this.#keys.store(bytes, at);
    const confirmed = keypair.initiator;
    this.#sessions.set(keypair.localIndex | 0, { peer, keypair, keys, counter: 0, window, confirmed });
  }

  endSession(localIndex: ReceiverIndex): void {
    const session = this.session(localIndex);
    if (session === undefined) return;
    this.#sessions.delete(localIndex | 0);
    this.#keys.erase(session.keys);
    this.#windows.push(session.window);
    if (session.peer.current === session) session.peer.current = undefined;
  }

  eraseKeys(): void {
    this.#keys.eraseAll();
  }
}

/** Copies the `ENDPOINT` record at `at` in `bytes`. */
export function setEndpoint(peer: PeerState, bytes: Uint8Array, at: number): void {
  for (let i = 0; i < ENDPOINT.size; i++) peer.endpoints.bytes[peer.endpoint + i] = bytes[at + i]!;
}

/** Lets the kernel choose the source address until the peer's next packet. What the path refused is forgotten too. */
export function forgetSource(peer: PeerState): void {
  peer.endpoints.view.setUint32(peer.endpoint + ENDPOINT.controlLength, 0, true);
  peer.endpoints.view.setUint32(peer.endpoint + ENDPOINT.interface, 0, true);
  peer.endpoints.view.setUint16(peer.endpoint + ENDPOINT.aloneFrom, 0, true);
}

/** Sets whether answers leave from the source address in the `ENDPOINT` record at `at`, unless that is outdated. */
export function useSource(
  peer: PeerState,
  bytes: Uint8Array,
  view: DataView,
  at: number,
  use: boolean,
): void {
  const { endpoint, endpoints } = peer;
  const length = view.getUint32(at + ENDPOINT.controlLength, true);
  for (let i = 0; i < ENDPOINT.aloneFrom; i++) {
    const isControl = i >= ENDPOINT.control && i < ENDPOINT.controlLength + 4;
    if (isControl && i >= ENDPOINT.control + length) continue; // behind the control message
    if (bytes[at + i] !== endpoints.bytes[endpoint + i]) return;
  }
  endpoints.view.setUint32(endpoint + ENDPOINT.controlLength, use ? length : 0, true);
}

/** The peer's id at the relay in its endpoint; 0 if there is no relay. */
export const relayPeerOf = (peer: PeerState): number =>
  peer.endpoints.view.getUint32(peer.endpoint + ENDPOINT.relayPeer, true);

/** Whether a peer's endpoint is known. */
export const hasEndpoint = (peer: PeerState): boolean =>
  peer.endpoints.view.getUint32(peer.endpoint + ENDPOINT.nameLength, true) !== 0;

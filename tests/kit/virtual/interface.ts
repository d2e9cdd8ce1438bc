import type { Endpoint } from '../../../src/ip/endpoint.js';
import type { NodeId } from '../../../src/protocol/node-id.js';
import type { Agenda } from './agenda.js';
import { show } from './internet.js';

/** A message: its type, the receiver's and the sender's id, a session, a sequence, and what it is. All u32. */
const MESSAGE = { type: 0, receiver: 4, sender: 8, session: 12, sequence: 16, kind: 20 } as const;
/** WireGuard's types and lengths, bytes; transport data as long as the MTU allows. */
const TYPE = { initiation: 1, response: 2, data: 4 } as const;
const LENGTH = { [TYPE.initiation]: 148, [TYPE.response]: 92, [TYPE.data]: 1_312 } as const;
const KIND = { question: 0, answer: 1, keepalive: 2 } as const;
/** [W] 6.1, milliseconds: Rekey-Timeout; and after how long without an answer a new handshake is made. */
const REKEY_TIMEOUT = 5_000;
const NEW_HANDSHAKE = 15_000;

/** A peer of the interface. */
interface Peer {
  readonly key: string;
  /** Where data goes; undefined: nowhere yet. */
  endpoint: Endpoint | 'relay' | undefined;
  /** Bytes. */
  received: number;
  sent: number;
  /** How often `endpoint` has changed. */
  moves: number;
  /** Data of these is accepted, the first is used; both ends have them, until one of them forgets. */
  sessions: number[];
  /** Of a handshake that the peer began: it is used when the peer has used it. */
  next: number | undefined;
  /** Of the latest handshake that the peer began: an earlier one does not count, as by WireGuard's timestamps. */
  latest: number;
  /** Of the latest handshake that waits for its answer, and when it was begun. */
  begun: number | undefined;
  handshakeAt: number;
  /** What waits for a session. */
  waiting: number | undefined;
  /** Since when nothing has come in answer to data. */
  unansweredSince: number | undefined;
}

export interface InterfaceOptions {
  readonly agenda: Agenda;
  readonly id: () => NodeId;
  readonly isUp: () => boolean;
  readonly send: (bytes: Uint8Array, to: Endpoint) => void;
  readonly sendRelayed: (bytes: Uint8Array, peer: NodeId) => void;
  /** Something was sent or received. */
  readonly onTraffic: () => void;
}

/** WireGuard in outline: sessions that both ends must have, handshakes when they do not, endpoints that are set from above. */
export class VirtualInterface {
  readonly peers = new Map<NodeId, Peer>();
  /** Those with traffic, until it is counted. */
  readonly active = new Map<NodeId, Peer>();
  /** Sequences of questions that were answered. */
  readonly answers = new Set<number>();
  readonly #options: InterfaceOptions;
  #sequence = 0;
  #sessions = 0;

  constructor(options: InterfaceOptions) {
    this.#options = options;
  }

  /** The process ends: sessions are gone with it. */
  clear(): void {
    this.peers.clear();
    this.active.clear();
  }

  add(id: NodeId, key: string): void {
    const traffic = { received: 0, sent: 0, moves: 0 };
    const session = {
      sessions: [],
      next: undefined,
      latest: 0,
      begun: undefined,
      handshakeAt: Number.NEGATIVE_INFINITY,
    };
    this.peers.set(id, {
      key,
      endpoint: undefined,
      ...traffic,
      ...session,
      waiting: undefined,
      unansweredSince: undefined,
    });
  }

  remove(id: NodeId): void {
    this.peers.delete(id);
    this.active.delete(id);
  }

  setEndpoint(id: NodeId, endpoint: Endpoint | 'relay'): void {
    const peer = this.peers.get(id);
    if (peer === undefined) return;
    if (textOf(endpoint) !== textOf(peer.endpoint)) peer.moves++;
    peer.endpoint = endpoint;
    if (peer.begun !== undefined) this.#initiate(id, peer); // it is tried there at once
  }

  /** Makes a session, if there is none. */
  greet(id: NodeId): void {
    const peer = this.peers.get(id);
    if (peer !== undefined && peer.sessions.length === 0) this.#initiate(id, peer);
  }

  /** Sends a packet to a member, which answers if it gets it. @returns its sequence */
  ask(to: NodeId): number {
    const sequence = ++this.#sequence;
    this.#sendData(to, sequence, KIND.question);
    return sequence;
  }

  /** Whether a datagram can be one of WireGuard's. */
  static isMessage(type: number): boolean {
    return type === TYPE.initiation || type === TYPE.response || type === TYPE.data;
  }

  receive(view: DataView): void {
    const from = view.getUint32(MESSAGE.sender, true) as NodeId;
    const peer = this.peers.get(from);
    // Another one's, or of a machine that is no peer: no such key.
    if (peer === undefined || view.getUint32(MESSAGE.receiver, true) !== this.#options.id()) return;
    const session = view.getUint32(MESSAGE.session, true);
    const type = view.getUint32(MESSAGE.type, true);
    if (type === TYPE.data && session === peer.next) this.#adopt(peer, session);
    if (type === TYPE.data && !peer.sessions.includes(session)) return; // of a process before this one
    peer.received += view.byteLength;
    peer.unansweredSince = undefined;
    this.#hasTraffic(from, peer);
    if (type === TYPE.data) this.#receiveData(from, view);
    else if (type === TYPE.initiation) {
      if (session <= peer.latest) return;
      peer.next = peer.latest = session;
      this.#send(from, peer, TYPE.response, session);
    } else if (session === peer.begun) {
      this.#adopt(peer, session);
      peer.begun = undefined;
      if (peer.waiting === undefined) this.#send(from, peer, TYPE.data, session, 0, KIND.keepalive);
      else this.#sendData(from, peer.waiting, KIND.question);
      peer.waiting = undefined;
    }
  }

  /** One that the peer began, or it, becomes the one before: the peer may have adopted that. */
  #adopt(peer: Peer, session: number): void {
    const others = [peer.next ?? [], peer.sessions].flat().filter((one) => one !== session);
    peer.sessions = [session, ...others].slice(0, 2);
    peer.next = undefined;
    peer.handshakeAt = Number.NEGATIVE_INFINITY;
  }

  #receiveData(from: NodeId, view: DataView): void {
    const sequence = view.getUint32(MESSAGE.sequence, true);
    const kind = view.getUint32(MESSAGE.kind, true);
    if (kind === KIND.question) this.#sendData(from, sequence, KIND.answer);
    else if (kind === KIND.answer) this.answers.add(sequence);
  }

  #sendData(to: NodeId, sequence: number, kind: number): void {
    const peer = this.peers.get(to);
    if (peer === undefined || !this.#options.isUp()) return;
    const { now } = this.#options.agenda;
    if (kind === KIND.question) peer.unansweredSince ??= now;
    if (peer.sessions.length === 0) peer.waiting = kind === KIND.question ? sequence : peer.waiting;
    else this.#send(to, peer, TYPE.data, peer.sessions[0]!, sequence, kind);
    const isOld = peer.unansweredSince !== undefined && now - peer.unansweredSince >= NEW_HANDSHAKE;
    if ((peer.sessions.length === 0 || isOld) && now - peer.handshakeAt >= REKEY_TIMEOUT)
      this.#initiate(to, peer);
  }

  #initiate(to: NodeId, peer: Peer): void {
    const { agenda, id } = this.#options;
    peer.handshakeAt = agenda.now;
    peer.begun = id() * 65_536 + (++this.#sessions & 0xffff);
    this.#send(to, peer, TYPE.initiation, peer.begun);
  }

  #send(to: NodeId, peer: Peer, type: keyof typeof LENGTH, session: number, sequence = 0, kind = 0): void {
    const { send, sendRelayed, id } = this.#options;
    const bytes = Buffer.allocUnsafe(LENGTH[type]);
    const view = new DataView(bytes.buffer, bytes.byteOffset);
    view.setUint32(MESSAGE.type, type, true);
    view.setUint32(MESSAGE.receiver, to, true);
    view.setUint32(MESSAGE.sender, id(), true);
    view.setUint32(MESSAGE.session, session, true);
    view.setUint32(MESSAGE.sequence, sequence, true);
    view.setUint32(MESSAGE.kind, kind, true);
    peer.sent += bytes.length;
    this.#hasTraffic(to, peer);
    if (peer.endpoint === 'relay') sendRelayed(bytes, to);
    else if (peer.endpoint !== undefined) send(bytes, peer.endpoint);
  }

  #hasTraffic(id: NodeId, peer: Peer): void {
    this.active.set(id, peer);
    this.#options.onTraffic();
  }
}

const textOf = (endpoint: Peer['endpoint']): string =>
  typeof endpoint === 'object' ? show(endpoint) : `${endpoint}`;

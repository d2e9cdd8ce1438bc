import type { Endpoint } from '../../src/ip/endpoint.js';
import type { Engine, EngineEvents, SocketEndpoint, SourceAddress } from '../../src/tunnel/engine.js';
import type { Transfer } from '../../src/wireguard/activity.js';
import { ACTIVITY } from '../../src/wireguard/activity.js';
import type { Keypair } from '../../src/wireguard/keypair.js';
import type { PeerNumber, ReceiverIndex } from '../../src/wireguard/numbers.js';

/** A call to the engine: the method's name and its arguments. */
export interface EngineCall {
  readonly method: string;
  readonly args: readonly unknown[];
}

/** A data plane that moves nothing: it records its calls, and reports what a test sets. */
export class FakeEngine implements Engine {
  readonly events: EngineEvents;
  readonly calls: EngineCall[] = [];
  readonly peers = new Map<number, Float64Array>();
  readonly bytes = new Map<number, Transfer>();
  readonly dropped = new Map<string, number>();
  /** Milliseconds. */
  time = 1000;
  #nextId = 0;

  constructor(events: EngineEvents) {
    this.events = events;
  }

  /** The arguments of all calls of a method since `forget`. */
  of(method: string): (readonly unknown[])[] {
    return this.calls.filter((call) => call.method === method).map(({ args }) => args);
  }

  forget(): void {
    this.calls.length = 0;
  }

  addPeer(): { id: PeerNumber; row: Float64Array; at: number } {
    const id = this.#nextId++ as PeerNumber;
    const row = new Float64Array(ACTIVITY.words);
    this.peers.set(id, row);
    return { id, row, at: 0 };
  }

  removePeer(id: PeerNumber): void {
    this.#record('removePeer', id);
    this.peers.delete(id);
  }

  installKeypair(peer: PeerNumber, keypair: Keypair, sendingKey: Uint8Array, receivingKey: Uint8Array): void {
    this.#record('installKeypair', peer, keypair, sendingKey.slice(), receivingKey.slice());
    sendingKey.fill(0);
    receivingKey.fill(0);
  }

  useKeypair(peer: PeerNumber, localIndex: ReceiverIndex, confirm: boolean): void {
    this.#record('useKeypair', peer, localIndex, confirm);
  }

  dropKeypair(peer: PeerNumber, localIndex: ReceiverIndex): void {
    this.#record('dropKeypair', peer, localIndex);
  }

  keepalive(peer: PeerNumber): void {
    this.#record('keepalive', peer);
  }

  discardQueue(peer: PeerNumber): void {
    this.#record('discardQueue', peer);
  }

  setEndpoint(peer: PeerNumber, endpoint: SocketEndpoint): void {
    this.#record('setEndpoint', peer, endpoint);
  }

  forgetSource(peer: PeerNumber): void {
    this.#record('forgetSource', peer);
  }

  useSource(peer: PeerNumber, endpoint: SocketEndpoint, use: boolean): void {
    this.#record('useSource', peer, endpoint, use);
  }

  setAllowedIps(table: Int32Array): void {
    this.#record('setAllowedIps', table);
  }

  setMtu(mtu: number): void {
    this.#record('setMtu', mtu);
  }

  setUp(up: boolean): void {
    this.#record('setUp', up);
  }

  setSocket(fd: number, family: number): void {
    this.#record('setSocket', fd, family);
  }

  sendDatagram(bytes: Uint8Array, to: SocketEndpoint): void {
    this.#record('sendDatagram', bytes, to);
  }

  setRelays(relays: readonly Endpoint[]): void {
    this.#record('setRelays', relays);
  }

  /** @param source the local address that a datagram from there was received at */
  endpoint(remote: Endpoint, relayPeer = 0, source?: SourceAddress): SocketEndpoint {
    const member = new Uint8Array(relayPeer === 0 ? 0 : 4);
    if (relayPeer !== 0) new DataView(member.buffer).setUint32(0, relayPeer);
    const bytes = Uint8Array.of(...remote.address, remote.port >> 8, remote.port & 0xff, ...member);
    return {
      ...{ bytes, remote, relayPeer, source },
      withoutSource: source && this.endpoint(remote, relayPeer),
      using: (used) => this.endpoint(remote, relayPeer, source && { ...source, used }),
      equals: (other) => Buffer.compare(bytes, other.bytes) === 0,
    };
  }

  transfer(peer: PeerNumber): Transfer {
    return this.bytes.get(peer) ?? { received: 0, sent: 0 };
  }

  drops(): ReadonlyMap<string, number> {
    return this.dropped;
  }

  now(): number {
    return this.time;
  }

  async close(): Promise<void> {
    this.#record('close');
  }

  #record(method: string, ...args: readonly unknown[]): void {
    this.calls.push({ method, args });
  }
}

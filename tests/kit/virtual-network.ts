import { ACTIVITY } from '../../src/wireguard/activity.js';
import type { Crypto, PrivateKey } from '../../src/wireguard/crypto.js';
import { DataPath } from '../../src/wireguard/data-path.js';
import type { MachineEvent, PeerEndpoint } from '../../src/wireguard/events.js';
import { WireGuardMachine } from '../../src/wireguard/machine.js';
import { MESSAGE_TYPE, messageType, viewOf } from '../../src/wireguard/messages.js';
import type { PeerNumber } from '../../src/wireguard/numbers.js';
import type { Peer } from '../../src/wireguard/peer.js';

/** An address on a virtual network: 10.255.0.`host`, and a port. */
export class VirtualEndpoint implements PeerEndpoint {
  readonly bytes: Uint8Array;

  constructor(host: number, port: number) {
    this.bytes = Uint8Array.of(10, 255, 0, host, port >> 8, port & 0xff);
  }

  get key(): string {
    return this.bytes.join('.');
  }

  equals(other: PeerEndpoint): boolean {
    return this.bytes.every((byte, i) => byte === other.bytes[i]);
  }
}

/** A datagram in flight. */
export interface Datagram {
  readonly from: VirtualEndpoint;
  readonly to: VirtualEndpoint;
  readonly bytes: Uint8Array;
  /** When it was sent. */
  readonly at: number;
  /** The number of datagrams sent before it. */
  readonly nth: number;
}

/** The delays after which copies of a datagram arrive, milliseconds. Empty when it is lost. */
export type Weather = (datagram: Datagram) => readonly number[];

/** Nodes on a virtual clock, and the datagrams between them. */
export class VirtualNetwork {
  /** Milliseconds; never 0. */
  now = 1000;
  /** The wall clock minus `now`. */
  wallOffset = 1_700_000_000_000;
  readonly sent: Datagram[] = [];
  weather: Weather;
  readonly #nodes = new Map<string, VirtualNode>();
  #agenda: { readonly at: number; readonly order: number; readonly run: () => void }[] = [];
  #order = 0;

  constructor(weather: Weather = () => [1]) {
    this.weather = weather;
  }

  attach(node: VirtualNode, endpoint: VirtualEndpoint): void {
    this.#nodes.set(endpoint.key, node);
  }

  detach(endpoint: VirtualEndpoint): void {
    this.#nodes.delete(endpoint.key);
  }

  send(from: VirtualEndpoint, to: VirtualEndpoint, bytes: Uint8Array): void {
    const datagram = { from, to, bytes, at: this.now, nth: this.sent.length };
    this.sent.push(datagram);
    for (const delay of this.weather(datagram)) {
      const copy = Uint8Array.from(bytes);
      this.at(this.now + delay, () => this.#nodes.get(to.key)?.receive(copy, from));
    }
  }

  /** Schedules `run` for a later time. */
  at(time: number, run: () => void): void {
    const entry = { at: time, order: this.#order++, run };
    let i = this.#agenda.length;
    while (i > 0 && this.#agenda[i - 1]!.at > time) i--;
    this.#agenda.splice(i, 0, entry);
  }

  /** Advances the clock. Datagrams arrive and timers expire on the way. */
  runUntil(end: number): void {
    for (;;) {
      const nodes = [...new Set(this.#nodes.values())];
      const timeout = Math.min(...nodes.map((node) => node.device.nextTimeout()));
      const arrival = this.#agenda[0]?.at ?? Infinity;
      const next = Math.min(timeout, arrival);
      if (next > end) break;
      this.now = Math.max(this.now, next);
      if (arrival <= timeout) this.#agenda.shift()!.run();
      else for (const node of nodes) if (node.device.nextTimeout() <= this.now) node.expire();
    }
    this.now = Math.max(this.now, end);
  }

  runFor(milliseconds: number): void {
    this.runUntil(this.now + milliseconds);
  }
}

/** A protocol machine and its data path on a virtual network. Its inner address is 10.0.0.`id`. */
export class VirtualNode {
  readonly id: number;
  readonly device: WireGuardMachine;
  readonly dataPath: DataPath;
  readonly key: PrivateKey;
  endpoint: VirtualEndpoint;
  /** The packets received through the tunnel, and when. */
  readonly received: { readonly bytes: Uint8Array; readonly at: number }[] = [];
  /** All events of the device except datagrams. */
  readonly events: { readonly kind: MachineEvent<Peer>['kind']; readonly at: number }[] = [];
  /** The queue length passed to `handleDatagram`. */
  queued = 0;
  readonly rows = new Map<number, Float64Array>();
  readonly #network: VirtualNetwork;

  constructor(network: VirtualNetwork, crypto: Crypto, id: number, key: PrivateKey = crypto.generate()) {
    this.#network = network;
    this.id = id;
    this.key = key;
    this.endpoint = new VirtualEndpoint(id, 51820);
    this.device = new WireGuardMachine({ crypto, wallClock: () => network.now + network.wallOffset });
    this.dataPath = new DataPath({
      crypto,
      drops: this.device.drops,
      rowOf: (peer) => ({ row: this.rows.get(peer.id)!, at: 0 }),
      mtu: 1420,
      maxQueued: { perPeer: 16, total: 64 },
    });
    this.device.setPrivateKey(key, network.now);
    this.device.up(network.now);
    network.attach(this, this.endpoint);
  }

  get now(): number {
    return this.#network.now;
  }

  /** Configures a peer, whose inner address is 10.0.0.`id`. */
  addPeer(other: VirtualNode, options: { readonly endpoint?: VirtualEndpoint | undefined } = {}): Peer {
    const row = new Float64Array(ACTIVITY.words);
    this.rows.set(other.id, row);
    const peer = this.device.addPeer(other.key.publicKey.bytes, other.id as PeerNumber, row, 0);
    this.dataPath.addPeer(peer);
    this.dataPath.allowedIps.insert(Uint8Array.of(10, 0, 0, other.id), 32, other.id);
    this.dataPath.allowedIpsChanged();
    const endpoint = 'endpoint' in options ? options.endpoint : other.endpoint;
    if (endpoint) this.device.setEndpoint(peer, endpoint);
    this.settle();
    return peer;
  }

  /** Moves to another address without telling anyone. */
  moveTo(endpoint: VirtualEndpoint): void {
    this.#network.detach(this.endpoint);
    this.endpoint = endpoint;
    this.#network.attach(this, endpoint);
  }

  /** An application sends to the inner address of a node. */
  sendTo(id: number, payload = 'hello'): void {
    this.dataPath.handlePacket(innerPacket(this.id, id, payload), this.now);
    this.settle();
  }

  receive(bytes: Uint8Array, from: VirtualEndpoint): void {
    if (messageType(viewOf(bytes), 0, bytes.length) !== MESSAGE_TYPE.transport)
      this.device.handleDatagram(bytes, from, this.now, this.queued);
    else if (this.device.isUp) this.dataPath.handleDatagram(bytes, from, this.now);
    else this.device.drops.count('down');
    this.settle();
  }

  expire(): void {
    this.device.handleTimeout(this.now);
    this.settle();
  }

  /** Performs the events of both halves until there are none. */
  settle(): void {
    for (let busy = true; busy; ) {
      busy = false;
      for (let event = this.device.poll(); event; event = this.device.poll()) {
        busy = true;
        if (event.kind === 'datagram') this.#send(event.to, event.bytes);
        else {
          this.events.push({ kind: event.kind, at: this.now });
          this.dataPath.apply(event, this.now);
        }
      }
      for (let output = this.dataPath.poll(); output; output = this.dataPath.poll()) {
        busy = true;
        if (output.kind === 'datagram') this.#send(output.to, output.bytes);
        else if (output.kind === 'packet') this.received.push({ bytes: output.bytes, at: this.now });
        else if (output.kind === 'wake-up') this.device.handleActivity(output.peer, this.now);
        else this.device.handleRoaming(output.peer, output.endpoint);
      }
    }
  }

  #send(to: PeerEndpoint, bytes: Uint8Array): void {
    this.#network.send(this.endpoint, to as VirtualEndpoint, bytes);
  }
}

/** An IPv4 packet from 10.0.0.`from` to 10.0.0.`to`, of protocol 0. */
export function innerPacket(from: number, to: number, payload: string): Uint8Array {
  const packet = new Uint8Array(20 + payload.length);
  packet.set([0x45, 0, packet.length >> 8, packet.length & 0xff]);
  packet.set([10, 0, 0, from, 10, 0, 0, to], 12);
  packet.set(
    Uint8Array.from(payload, (char) => char.charCodeAt(0)),
    20,
  );
  return packet;
}

/** The payload of an `innerPacket`. */
export const payloadOf = (packet: Uint8Array): string => String.fromCharCode(...packet.subarray(20));

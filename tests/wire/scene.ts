import { NodeCrypto } from '../../src/crypto/node-crypto.js';
import { ACTIVITY } from '../../src/wireguard/activity.js';
import type { Crypto, PrivateKey, PublicKey } from '../../src/wireguard/crypto.js';
import { DataPath, type Output } from '../../src/wireguard/data-path.js';
import type { PeerEndpoint } from '../../src/wireguard/events.js';
import { UNDER_LOAD_QUEUE, WireGuardMachine } from '../../src/wireguard/machine.js';
import { MESSAGE_TYPE } from '../../src/wireguard/messages.js';
import type { PeerNumber } from '../../src/wireguard/numbers.js';
import type { Peer } from '../../src/wireguard/peer.js';

/**
 * The scene of docs/WIRE.md: a laptop at home and a server in the office, both running the product's code, complete a
 * handshake and send one packet. Keys, clock and randomness are fixed, so the scene is always the same. All
 * cryptographic calls are recorded. The keys protect nothing.
 */

/** A recorded cryptographic call of the protocol. */
export interface Call {
  readonly of: 'hash' | 'mac' | 'kdf' | 'dh' | 'seal' | 'open' | 'xseal' | 'xopen';
  readonly inputs: readonly Uint8Array[];
  readonly outputs: readonly Uint8Array[];
}

/** Records every call to the product's cryptography. Randomness comes from a seed. */
class TracingCrypto implements Crypto {
  readonly #real = new NodeCrypto();
  readonly #ephemerals: PrivateKey[];
  readonly #seed: Uint8Array;
  #calls: Call[] = [];
  #drawn = 0;

  constructor(seed: string, ephemerals: readonly Uint8Array[]) {
    this.#seed = bytesOf(seed);
    this.#ephemerals = ephemerals.map((bytes) => this.#real.privateKey(bytes));
  }

  /** Takes the calls since the last time. */
  take(): Call[] {
    const calls = this.#calls;
    this.#calls = [];
    return calls;
  }

  publicKey(bytes: Uint8Array): PublicKey {
    return this.#real.publicKey(bytes);
  }

  privateKey(bytes: Uint8Array): PrivateKey {
    return this.#real.privateKey(bytes);
  }

  generate(): PrivateKey {
    const next = this.#ephemerals.shift();
    if (!next) throw new Error('the scene has no more ephemeral keys');
    return next;
  }

  dh(privateKey: PrivateKey, publicKey: PublicKey, out: Uint8Array): boolean {
    const usable = this.#real.dh(privateKey, publicKey, out);
    this.#note('dh', [privateKey.publicKey.bytes, publicKey.bytes], [out]);
    return usable;
  }

  hash(a: Uint8Array, b: Uint8Array, out: Uint8Array): void {
    const inputs = copies([a, b]);
    this.#real.hash(a, b, out);
    this.#note('hash', inputs, [out]);
  }

  mac(key: Uint8Array, input: Uint8Array, out: Uint8Array): void {
    this.#real.mac(key, input, out);
    this.#note('mac', [key, input], [out]);
  }

  kdf(key: Uint8Array, input: Uint8Array, ...outs: [Uint8Array, Uint8Array?, Uint8Array?]): void {
    const inputs = copies([key, input]);
    this.#real.kdf(key, input, ...outs);
    const outputs = outs.filter((out) => out !== undefined);
    this.#note('kdf', inputs, outputs);
  }

  seal(key: Uint8Array, counter: number, plaintext: Uint8Array, data: Uint8Array, out: Uint8Array): void {
    this.#real.seal(key, counter, plaintext, data, out);
    this.#note('seal', [key, plaintext, data], [out]);
  }

  open(key: Uint8Array, counter: number, sealed: Uint8Array, data: Uint8Array, out: Uint8Array): boolean {
    const authentic = this.#real.open(key, counter, sealed, data, out);
    this.#note('open', [key, sealed, data], [out]);
    return authentic;
  }

  xseal(key: Uint8Array, nonce: Uint8Array, plaintext: Uint8Array, data: Uint8Array, out: Uint8Array): void {
    this.#real.xseal(key, nonce, plaintext, data, out);
    this.#note('xseal', [key, nonce, plaintext, data], [out]);
  }

  xopen(key: Uint8Array, nonce: Uint8Array, sealed: Uint8Array, data: Uint8Array, out: Uint8Array): boolean {
    const authentic = this.#real.xopen(key, nonce, sealed, data, out);
    this.#note('xopen', [key, nonce, sealed, data], [out]);
    return authentic;
  }

  /** Not recorded: only its results appear in the document. */
  random(out: Uint8Array): void {
    out.set(fixedBytes(this.#seed, this.#drawn++).subarray(0, out.length));
  }

  equal(a: Uint8Array, b: Uint8Array): boolean {
    return this.#real.equal(a, b);
  }

  #note(of: Call['of'], inputs: readonly Uint8Array[], outputs: readonly Uint8Array[]): void {
    this.#calls.push({ of, inputs: copies(inputs), outputs: copies(outputs) });
  }
}

const copies = (all: readonly Uint8Array[]): Uint8Array[] => all.map((bytes) => Uint8Array.from(bytes));
export const bytesOf = (text: string): Uint8Array => new TextEncoder().encode(text);

/** 32 bytes that are the same in every run: Hash(seed || number). */
function fixedBytes(seed: Uint8Array, number = 0): Uint8Array {
  const out = new Uint8Array(32);
  new NodeCrypto().hash(seed, bytesOf(`${number}`), out);
  return out;
}

/** A private key derived from a name, clamped as in RFC 7748 §5. */
function fixedKey(name: string): Uint8Array {
  const key = fixedBytes(bytesOf(name));
  key[0]! &= 0xf8;
  key[31] = (key[31]! & 0x7f) | 0x40;
  return key;
}

/** All secrets, which would normally be random. */
export const SECRETS = {
  laptop: { static: fixedKey('laptop, static'), ephemeral: fixedKey('laptop, ephemeral') },
  server: { static: fixedKey('server, static'), ephemeral: fixedKey('server, ephemeral') },
  /** The laptop's ephemeral key for its second initiation, which has a cookie. */
  secondEphemeral: fixedKey('laptop, second ephemeral'),
  preshared: fixedBytes(bytesOf('preshared')),
} as const;

/** The day of the blog post, half a second after noon. */
export const WALL_CLOCK = Date.UTC(2020, 8, 20, 12, 0, 0, 500);

/** An outer address, from RFC 5737, and a port. */
class OuterAddress implements PeerEndpoint {
  readonly bytes: Uint8Array;
  readonly text: string;

  constructor(address: readonly [number, number, number, number], port: number) {
    this.text = `${address.join('.')}:${port}`;
    this.bytes = Uint8Array.of(...address, port >> 8, port & 0xff);
  }

  equals(other: PeerEndpoint): boolean {
    return this.bytes.every((byte, i) => byte === other.bytes[i]);
  }
}

export const OUTER = {
  laptop: new OuterAddress([198, 51, 100, 7], 51820),
  server: new OuterAddress([203, 0, 113, 5], 51820),
} as const;

const INNER = { laptop: Uint8Array.of(10, 0, 0, 2), server: Uint8Array.of(10, 0, 0, 1) } as const;
export const MESSAGE = 'VPNs from first principles';

/** A UDP packet from 10.0.0.2 port 1234 to 10.0.0.1 port 1234. */
export function innerPacket(): Uint8Array {
  const text = bytesOf(MESSAGE);
  const packet = new Uint8Array(28 + text.length);
  const view = new DataView(packet.buffer);
  packet.set([0x45, 0, 0, packet.length, 0x1d, 0x05, 0x40, 0, 64, 17]);
  packet.set(INNER.laptop, 12);
  packet.set(INNER.server, 16);
  view.setUint16(10, ~sum16(packet.subarray(0, 20)) & 0xffff);
  view.setUint16(20, 1234);
  view.setUint16(22, 1234);
  view.setUint16(24, 8 + text.length);
  packet.set(text, 28);
  const pseudoHeader = Uint8Array.of(...INNER.laptop, ...INNER.server, 0, 17, 0, 8 + text.length);
  view.setUint16(26, ~sum16(Uint8Array.of(...pseudoHeader, ...packet.subarray(20))) & 0xffff);
  return packet;
}

/** The sum of RFC 1071 over an even number of bytes. */
function sum16(bytes: Uint8Array): number {
  let sum = 0;
  for (let i = 0; i < bytes.length; i += 2) sum += (bytes[i]! << 8) | bytes[i + 1]!;
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return sum;
}

/** One side: a protocol machine and its data path. */
class Side {
  readonly crypto: TracingCrypto;
  readonly device: WireGuardMachine;
  readonly #dataPath: DataPath;
  readonly #peer: Peer;
  /** Datagrams sent and not yet taken. */
  readonly sent: Uint8Array[] = [];
  /** Packets received through the tunnel. */
  readonly delivered: Uint8Array[] = [];

  constructor(who: 'laptop' | 'server', ephemerals: readonly Uint8Array[], now: number) {
    const other = who === 'laptop' ? 'server' : 'laptop';
    this.crypto = new TracingCrypto(who, ephemerals);
    this.device = new WireGuardMachine({ crypto: this.crypto, wallClock: () => WALL_CLOCK + now - START });
    this.device.setPrivateKey(this.crypto.privateKey(SECRETS[who].static), now);
    const row = new Float64Array(ACTIVITY.words);
    const theirs = this.crypto.privateKey(SECRETS[other].static).publicKey.bytes;
    this.#peer = this.device.addPeer(theirs, 1 as PeerNumber, row);
    this.device.setPresharedKey(this.#peer, SECRETS.preshared);
    if (who === 'laptop') this.device.setEndpoint(this.#peer, OUTER.server);
    this.#dataPath = new DataPath({
      crypto: this.crypto,
      drops: this.device.drops,
      rowOf: () => ({ row, at: 0 }),
      mtu: 1420,
      maxQueued: { perPeer: 8, total: 8 },
    });
    this.#dataPath.addPeer(this.#peer);
    this.#dataPath.allowedIps.insert(INNER[other], 32, 1);
    this.#dataPath.allowedIpsChanged();
    this.device.up(now);
    this.#settle(now);
    this.crypto.take();
  }

  send(packet: Uint8Array, now: number): void {
    this.#dataPath.handlePacket(packet, now);
    this.#settle(now);
  }

  receive(datagram: Uint8Array, from: PeerEndpoint, now: number, queued = 0): void {
    const copy = Uint8Array.from(datagram);
    if (copy[0] === MESSAGE_TYPE.transport) this.#dataPath.handleDatagram(copy, from, now);
    else this.device.handleDatagram(copy, from, now, queued);
    this.#settle(now);
  }

  /** Advances the clock to its next timer. @returns that time */
  wait(): number {
    const now = this.device.nextTimeout();
    this.device.handleTimeout(now);
    this.#settle(now);
    return now;
  }

  #settle(now: number): void {
    for (let busy = true; busy; ) {
      busy = false;
      for (let event = this.device.poll(); event; event = this.device.poll()) {
        busy = true;
        if (event.kind === 'datagram') this.sent.push(event.bytes);
        else this.#dataPath.apply(event, now);
      }
      for (let output = this.#dataPath.poll(); output; output = this.#dataPath.poll()) {
        busy = true;
        this.#take(output, now);
      }
    }
  }

  #take(output: Output, now: number): void {
    switch (output.kind) {
      case 'datagram':
        this.sent.push(output.bytes);
        break;
      case 'packet':
        this.delivered.push(Uint8Array.from(output.bytes));
        break;
      case 'wake-up':
        this.device.handleActivity(output.peer, now);
        break;
      case 'roaming':
        this.device.handleRoaming(output.peer, output.endpoint);
        break;
    }
  }
}

/** A datagram, and the cryptographic calls that made it. */
export interface Made {
  readonly bytes: Uint8Array;
  readonly calls: readonly Call[];
  /** Milliseconds since the beginning of the scene. */
  readonly at: number;
}

export interface Scene {
  readonly initiation: Made;
  readonly response: Made;
  /** The laptop reads the response, and sends the packet that waited for it. */
  readonly data: Made;
  readonly delivered: Uint8Array;
  readonly keepalive: Made;
  // The same with a server under load:
  readonly cookieReply: Made;
  readonly secondInitiation: Made;
}

const START = 1000;
/** The one-way delay of a datagram, milliseconds. */
const TRIP = 10;

export function play(): Scene {
  const { laptop: home, server: office } = SECRETS;
  const laptop = new Side('laptop', [home.ephemeral], START);
  const server = new Side('server', [office.ephemeral], START);
  const made = (side: Side, now: number): Made => {
    const [bytes, ...more] = side.sent.splice(0);
    if (!bytes || more.length > 0) throw new Error('the scene expects one datagram at a time');
    return { bytes, calls: side.crypto.take(), at: now - START };
  };

  laptop.send(innerPacket(), START);
  const initiation = made(laptop, START);
  server.receive(initiation.bytes, OUTER.laptop, START + TRIP);
  const response = made(server, START + TRIP);
  laptop.receive(response.bytes, OUTER.server, START + 2 * TRIP);
  const data = made(laptop, START + 2 * TRIP);
  server.receive(data.bytes, OUTER.laptop, START + 3 * TRIP);
  server.crypto.take();
  const keepalive = made(server, server.wait());
  laptop.receive(keepalive.bytes, OUTER.server, keepalive.at + START + TRIP);
  const [delivered] = server.delivered;
  if (!delivered) throw new Error('the packet was not delivered');
  return { initiation, response, data, delivered, keepalive, ...underLoad() };
}

/** Sends the same initiation to a server with a long queue. */
function underLoad(): Pick<Scene, 'cookieReply' | 'secondInitiation'> {
  const laptop = new Side('laptop', [SECRETS.laptop.ephemeral, SECRETS.secondEphemeral], START);
  const server = new Side('server', [SECRETS.server.ephemeral], START);
  laptop.send(innerPacket(), START);
  const [initiation] = laptop.sent.splice(0);
  server.receive(initiation!, OUTER.laptop, START + TRIP, UNDER_LOAD_QUEUE);
  const [reply] = server.sent.splice(0);
  const cookieReply = { bytes: reply!, calls: server.crypto.take(), at: TRIP };
  laptop.receive(reply!, OUTER.server, START + 2 * TRIP);
  if (laptop.sent.length > 0) throw new Error('the laptop must not answer a cookie reply at once');
  laptop.crypto.take();
  const now = laptop.wait();
  const [second] = laptop.sent.splice(0);
  const secondInitiation = { bytes: second!, calls: laptop.crypto.take(), at: now - START };
  server.receive(second!, OUTER.laptop, now + TRIP, UNDER_LOAD_QUEUE);
  if (server.sent[0]?.[0] !== MESSAGE_TYPE.response) throw new Error('the server did not accept mac2');
  return { cookieReply, secondInitiation };
}

/**
 * Many peers in one process that do handshakes with one device: `node handshake-load.js PEERS`. It makes all initiations
 * before it starts the clock, so that this work does not slow the device. For each line on standard input, an address
 * and a port, all peers do a handshake with that device, and a line of JSON (`HandshakeLoad`) reports the result.
 */
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseAddress } from '../../src/ip/address.js';
import { allocate, type Memory } from '../../src/linux/ffi/memory.js';
import { writeSocketAddress } from '../../src/linux/net/socket-address.js';
import { UdpSocket } from '../../src/linux/net/udp.js';
import { Poller } from '../../src/linux/threads/poll.js';
import { SendBatch } from '../../src/packets/send-batch.js';
import { ENDPOINT, ReceiveBatch } from '../../src/packets/udp-batch.js';
import { CookieHolder } from '../../src/wireguard/cookie.js';
import {
  EMPTY,
  LENGTH,
  NO_PRESHARED_KEY,
  type PrivateKey,
  type PublicKey,
} from '../../src/wireguard/crypto.js';
import {
  INITIATION,
  MESSAGE_TYPE,
  messageType,
  RESPONSE,
  TRANSPORT,
  writeCounter,
} from '../../src/wireguard/messages.js';
import { createInitiation, openResponse, type Transcript } from '../../src/wireguard/noise.js';
import { tai64n } from '../../src/wireguard/tai64n.js';
import { crypto, peerKey, responderKey } from './many-peers.js';

export interface HandshakeLoad {
  readonly answered: number;
  /** The time from the first initiation to the last response. */
  readonly seconds: number;
  /** Authentic responses, each answered by a first packet. */
  readonly completed: number;
  /** Cookie replies: the device considered itself under load. */
  readonly cookies: number;
}

/** Initiations in flight: too few to put a device under load. */
const WINDOW = 64;
/** Bytes from one message in memory to the next. */
const STRIDE = 160;
/** Initiations in flight count as lost after this time without a response, milliseconds. */
const PATIENCE = 1000;

/** Packets for each session, in case the device's socket is full; and sessions per burst. */
const PACKETS = 3;
const BURST = 32;

/** The sending key and the device's index of a session. */
interface Session {
  readonly key: Uint8Array;
  readonly index: number;
}

interface Peer {
  readonly key: PrivateKey;
  readonly ephemeral: PrivateKey;
  readonly transcript: Transcript;
}

class Load {
  readonly #responder: PublicKey = responderKey().publicKey;
  readonly #peers: Peer[] = [];
  readonly #initiations: Memory;
  readonly #responses: Memory;
  readonly #batch = new SendBatch(WINDOW);
  readonly #received = new ReceiveBatch(WINDOW);
  readonly #endpoint = allocate(ENDPOINT.size);

  constructor(count: number) {
    this.#initiations = allocate(count * STRIDE);
    this.#responses = allocate(count * STRIDE);
    const time = Math.floor(Date.now() / 1000);
    for (let i = 0; i < count; i++) this.#peers.push(this.#prepare(i, time));
  }

  async run(address: string, port: number): Promise<HandshakeLoad> {
    const socket = UdpSocket.open(0);
    try {
      socket.setBuffers(4 << 20);
      const remote = { address: parseAddress(address)!, port };
      const length = writeSocketAddress(this.#endpoint.view, ENDPOINT.name, socket.family, remote);
      this.#endpoint.view.setUint32(ENDPOINT.nameLength, length, true);
      const { cookies, answered, seconds } = this.#shakeHands(socket.fd);
      return { answered, seconds, cookies, completed: await this.#complete(socket.fd) };
    } finally {
      socket.close();
    }
  }

  /** Creates a peer's initiation, [W] 5.4.2. */
  #prepare(index: number, time: number): Peer {
    const key = peerKey(index);
    const ephemeral = crypto.generate();
    const at = index * STRIDE;
    const message = this.#initiations.bytes.subarray(at, at + INITIATION.length);
    const shared = new Uint8Array(LENGTH.key);
    crypto.dh(key, this.#responder, shared);
    const noise = message.subarray(INITIATION.ephemeral, INITIATION.mac1);
    const timestamp = tai64n(time, 0);
    const local = key.publicKey;
    const transcript = createInitiation(crypto, local, ephemeral, this.#responder, shared, timestamp, noise)!;
    this.#initiations.view.setUint32(at, MESSAGE_TYPE.initiation, true);
    this.#initiations.view.setUint32(at + INITIATION.sender, index, true);
    new CookieHolder(crypto, this.#responder.bytes).seal(message, 0);
    return { key, ephemeral, transcript };
  }

  /** Sends all initiations, as fast as the device answers, and keeps the responses. */
  #shakeHands(fd: number): { cookies: number; answered: number; seconds: number } {
    const poller = new Poller([fd]);
    this.#responses.bytes.fill(0);
    let sent = 0;
    let answered = 0;
    let cookies = 0;
    let waiting = 0;
    const start = performance.now();
    let last = start;
    while (sent < this.#peers.length || waiting > 0) {
      for (; waiting < WINDOW && sent < this.#peers.length; waiting++, sent++) {
        this.#batch.addTo(this.#initiations.address + sent * STRIDE, INITIATION.length, this.#endpoint, 0);
      }
      if (this.#batch.pending > 0) this.#batch.flush(fd);
      if (!poller.wait(PATIENCE)) {
        waiting = 0;
        continue;
      }
      const count = this.#received.receive(fd);
      for (let slot = 0; slot < count; slot++) {
        waiting--;
        if (this.#keep(slot)) answered++;
        else cookies++;
      }
      if (count > 0) last = performance.now();
    }
    return { cookies, answered, seconds: (last - start) / 1000 };
  }

  #keep(slot: number): boolean {
    const { view, bytes } = this.#received.memory;
    const at = this.#received.offset(slot);
    if (messageType(view, at, this.#received.length(slot)) !== MESSAGE_TYPE.response) return false;
    const index = view.getUint32(at + RESPONSE.receiver, true);
    this.#responses.bytes.set(bytes.subarray(at, at + RESPONSE.length), index * STRIDE);
    return true;
  }

  /** Opens the responses, and sends the first packets of each session, which confirm it. */
  async #complete(fd: number): Promise<number> {
    const sessions = this.#peers.flatMap((peer, index) => this.#openResponse(peer, index) ?? []);
    for (let counter = 0; counter < PACKETS; counter++) await this.#sendPackets(fd, sessions, counter);
    return sessions.length;
  }

  #openResponse(peer: Peer, index: number): Session | undefined {
    const { view, bytes } = this.#responses;
    const at = index * STRIDE;
    if (view.getUint32(at, true) !== MESSAGE_TYPE.response) return undefined;
    const noise = bytes.subarray(at + RESPONSE.ephemeral, at + RESPONSE.mac1);
    const transcript = peer.transcript.copy();
    const presharedKey = NO_PRESHARED_KEY as Uint8Array;
    if (!openResponse(crypto, transcript, peer.key, peer.ephemeral, presharedKey, noise, EMPTY))
      return undefined;
    const [key, receiving] = [new Uint8Array(LENGTH.key), new Uint8Array(LENGTH.key)];
    transcript.split(key, receiving, true);
    return { key, index: view.getUint32(at + RESPONSE.sender, true) };
  }

  async #sendPackets(fd: number, sessions: readonly Session[], counter: number): Promise<void> {
    const packets = allocate(BURST * TRANSPORT.overhead);
    for (let first = 0; first < sessions.length; first += BURST) {
      for (const [i, { key, index }] of sessions.slice(first, first + BURST).entries()) {
        const at = i * TRANSPORT.overhead;
        packets.view.setUint32(at, MESSAGE_TYPE.transport, true);
        packets.view.setUint32(at + TRANSPORT.receiver, index, true);
        writeCounter(packets.view, at + TRANSPORT.counter, counter);
        const tag = packets.bytes.subarray(at + TRANSPORT.payload, at + TRANSPORT.overhead);
        crypto.seal(key, counter, EMPTY, EMPTY, tag);
        this.#batch.addTo(packets.address + at, TRANSPORT.overhead, this.#endpoint, 0);
      }
      this.#batch.flush(fd);
      await sleep(1);
    }
  }
}

const load = new Load(Number(process.argv[2]));
process.stdout.write('ready\n');
for await (const line of createInterface({ input: process.stdin })) {
  const [address, port] = line.split(' ') as [string, string];
  process.stdout.write(`${JSON.stringify(await load.run(address, Number(port)))}\n`);
}

import { spawn, spawnSync } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { NodeCrypto } from '../../src/crypto/node-crypto.js';
import { CookieHolder } from '../../src/wireguard/cookie.js';
import { EMPTY } from '../../src/wireguard/crypto.js';
import { INITIATION, MESSAGE_TYPE, RESPONSE, TRANSPORT, viewOf } from '../../src/wireguard/messages.js';
import {
  createInitiation,
  createResponse,
  openPayload,
  openResponse,
  openStatic,
} from '../../src/wireguard/noise.js';
import { tai64n } from '../../src/wireguard/tai64n.js';
import { innerPacket } from '../kit/virtual-network.js';

/**
 * Writes tests/vectors/wireguard-go.json: the messages of the installed wireguard-go in handshakes of both roles, with
 * and without a preshared key, and all keys needed to open them. The keys are generated only for this.
 * Run as root: `node dist/tests/interop/capture-vectors.js tests/vectors/wireguard-go.json`. Not part of the suite.
 */

const OUR_PORT = 40_000;
const THEIR_PORT = 40_001;
const crypto = new NodeCrypto();

interface Keys {
  readonly ours: Uint8Array;
  readonly theirs: Uint8Array;
  readonly ephemeral: Uint8Array;
  readonly preshared: Uint8Array;
}

if (process.argv[2] === 'inside') await capture(process.argv[3]!);
else main(process.argv[2]!);

/** Creates a namespace, and runs this file again inside it. */
function main(output: string): void {
  const namespace = `wgcap-${process.pid}`;
  run('ip', 'netns', 'add', namespace);
  try {
    const inside = [
      'netns',
      'exec',
      namespace,
      process.execPath,
      fileURLToPath(import.meta.url),
      'inside',
      output,
    ];
    const { status } = spawnSync('ip', inside, { stdio: 'inherit', timeout: 60_000 });
    if (status !== 0) throw new Error(`capture ended with ${status}`);
  } finally {
    run('ip', 'netns', 'delete', namespace);
  }
}

async function capture(output: string): Promise<void> {
  run('ip', 'link', 'set', 'lo', 'up');
  const version = run('wireguard-go', '--version').split('\n')[0]!.trim();
  const sessions = [];
  for (const role of ['initiator', 'responder'] as const) {
    for (const withPsk of [false, true]) {
      const keys = {
        ours: random(),
        theirs: random(),
        ephemeral: random(),
        preshared: withPsk ? random() : new Uint8Array(32),
      };
      const name = `wgcap${role[0]}${withPsk ? 1 : 0}`;
      const daemon = spawn('wireguard-go', ['-f', name], { stdio: 'ignore' });
      try {
        await sleep(500);
        configure(name, keys);
        sessions.push({
          wireguardGoIs: role,
          ourPrivateKey: hex(keys.ours),
          theirPrivateKey: hex(keys.theirs),
          ourEphemeralPrivateKey: hex(keys.ephemeral),
          presharedKey: hex(keys.preshared),
          ...(role === 'initiator' ? await whenTheyBegin(name, keys) : await whenWeBegin(keys)),
        });
      } finally {
        daemon.kill();
        await once(daemon, 'exit');
      }
    }
  }
  const source = `${version}, Debian's package, talking to src/wireguard/noise.ts over UDP on a loopback interface`;
  writeFileSync(output, `${JSON.stringify({ source, sessions }, undefined, 1)}\n`);
}

function configure(name: string, keys: Keys): void {
  const directory = mkdtempSync(join(tmpdir(), 'wgcap-'));
  const file = join(directory, 'wg.conf');
  const base64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64');
  const peer = crypto.privateKey(keys.ours).publicKey.bytes;
  writeFileSync(
    file,
    `[Interface]\nPrivateKey = ${base64(keys.theirs)}\nListenPort = ${THEIR_PORT}\n[Peer]\nPublicKey = ${base64(peer)}\n` +
      `PresharedKey = ${base64(keys.preshared)}\nAllowedIPs = 10.0.0.1/32\nEndpoint = 127.0.0.1:${OUR_PORT}\n`,
    { mode: 0o600 },
  );
  run('wg', 'setconf', name, file);
  rmSync(directory, { recursive: true });
  run('ip', 'address', 'add', '10.0.0.2/24', 'dev', name);
  run('ip', 'link', 'set', name, 'up');
}

/** wireguard-go sends a ping: its initiation, our response, its ping. */
async function whenTheyBegin(name: string, keys: Keys): Promise<object> {
  const ours = crypto.privateKey(keys.ours);
  const socket = await openSocket();
  const ping = spawn('ping', ['-c', '1', '-W', '3', '-I', name, '10.0.0.1'], { stdio: 'ignore' });
  const initiation = await socket.receive();
  const noise = initiation.subarray(INITIATION.ephemeral, INITIATION.mac1);
  const claimed = openStatic(crypto, ours, noise)!;
  const staticStatic = new Uint8Array(32);
  crypto.dh(ours, crypto.publicKey(claimed.initiator), staticStatic);
  if (!openPayload(claimed, staticStatic, noise, new Uint8Array(12)))
    throw new Error('cannot open the initiation of wireguard-go');
  const response = new Uint8Array(RESPONSE.length);
  const view = viewOf(response);
  view.setUint32(0, MESSAGE_TYPE.response, true);
  view.setUint32(RESPONSE.sender, 0x1234, true);
  view.setUint32(RESPONSE.receiver, viewOf(initiation).getUint32(INITIATION.sender, true), true);
  const initiator = crypto.publicKey(claimed.initiator);
  const inner = response.subarray(RESPONSE.ephemeral, RESPONSE.mac1);
  createResponse(claimed, crypto.privateKey(keys.ephemeral), initiator, keys.preshared, EMPTY, inner);
  new CookieHolder(crypto, initiator.bytes).seal(response, 1);
  socket.send(response);
  const transport = [await socket.receive()];
  socket.close();
  ping.kill();
  return {
    messages: { initiation: hex(initiation), response: hex(response) },
    transport: transport.map(hex),
  };
}

/** lametun sends the initiation and a ping, and receives the answer. */
async function whenWeBegin(keys: Keys): Promise<object> {
  const ours = crypto.privateKey(keys.ours);
  const theirs = crypto.privateKey(keys.theirs).publicKey;
  const ephemeral = crypto.privateKey(keys.ephemeral);
  const staticStatic = new Uint8Array(32);
  crypto.dh(ours, theirs, staticStatic);
  const socket = await openSocket();
  const initiation = new Uint8Array(INITIATION.length);
  const view = viewOf(initiation);
  view.setUint32(0, MESSAGE_TYPE.initiation, true);
  view.setUint32(INITIATION.sender, 0x5678, true);
  const timestamp = tai64n(Math.floor(Date.now() / 1000), 0);
  const noise = initiation.subarray(INITIATION.ephemeral, INITIATION.mac1);
  const transcript = createInitiation(
    crypto,
    ours.publicKey,
    ephemeral,
    theirs,
    staticStatic,
    timestamp,
    noise,
  )!;
  new CookieHolder(crypto, theirs.bytes).seal(initiation, 1);
  socket.send(initiation);
  const response = await socket.receive();
  const inner = response.subarray(RESPONSE.ephemeral, RESPONSE.mac1);
  if (!openResponse(crypto, transcript, ours, ephemeral, keys.preshared, inner, EMPTY))
    throw new Error('cannot open the response of wireguard-go');
  const [sending, receiving] = [new Uint8Array(32), new Uint8Array(32)];
  transcript.split(sending, receiving, true);
  const packet = echoRequest();
  const message = new Uint8Array(TRANSPORT.overhead + packet.length);
  const out = viewOf(message);
  out.setUint32(0, MESSAGE_TYPE.transport, true);
  out.setUint32(TRANSPORT.receiver, viewOf(response).getUint32(RESPONSE.sender, true), true);
  crypto.seal(sending, 0, packet, EMPTY, message.subarray(TRANSPORT.payload));
  socket.send(message);
  const transport = [await socket.receive()];
  socket.close();
  return {
    messages: { initiation: hex(initiation), response: hex(response) },
    transport: transport.map(hex),
  };
}

/** An ICMP echo request, RFC 792, from 10.0.0.1 to 10.0.0.2, with 32 bytes so that it needs no padding. */
function echoRequest(): Uint8Array {
  const packet = innerPacket(1, 2, 'xxxxxxxxxxxx');
  packet.set([64, 1], 8);
  packet.set([8, 0, 0, 0, 0, 1, 0, 1], 20);
  setChecksum(packet, 10, 0, 20);
  setChecksum(packet, 22, 20, packet.length);
  return packet;
}

function setChecksum(packet: Uint8Array, at: number, begin: number, end: number): void {
  let sum = 0;
  for (let i = begin; i < end; i += 2) sum += (packet[i]! << 8) | packet[i + 1]!;
  sum = (sum & 0xffff) + (sum >> 16);
  sum = ~((sum & 0xffff) + (sum >> 16));
  packet.set([(sum >> 8) & 0xff, sum & 0xff], at);
}

async function openSocket() {
  const socket = createSocket('udp4');
  const queue: Uint8Array[] = [];
  socket.on('message', (message) => queue.push(Uint8Array.from(message)));
  socket.bind(OUR_PORT, '127.0.0.1');
  await once(socket, 'listening');
  return {
    send: (bytes: Uint8Array) => socket.send(bytes, THEIR_PORT, '127.0.0.1'),
    receive: async (): Promise<Uint8Array> => {
      for (let i = 0; i < 500; i++) {
        const message = queue.shift();
        if (message) return message;
        await sleep(10);
      }
      throw new Error('wireguard-go does not answer');
    },
    close: () => void socket.close(),
  };
}

function random(): Uint8Array {
  const bytes = new Uint8Array(32);
  crypto.random(bytes);
  bytes[0]! &= 248; // clamped as by `wg genkey`, RFC 7748 §5
  bytes[31] = (bytes[31]! & 127) | 64;
  return bytes;
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
}

function run(command: string, ...args: string[]): string {
  const { status, stdout, stderr } = spawnSync(command, args, { encoding: 'utf8', timeout: 10_000 });
  if (status !== 0) throw new Error(`${command} ${args.join(' ')}: ${stderr}`);
  return stdout;
}

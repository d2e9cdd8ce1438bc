/**
 * A stranger who floods a server: `node flooder.js`. For each line of JSON on standard input (`FloodOrder`) it floods
 * for some seconds, and prints how many datagrams per second it sent.
 */
import { createInterface } from 'node:readline';
import { parseAddress } from '../../src/ip/address.js';
import { allocate } from '../../src/linux/ffi/memory.js';
import { writeSocketAddress } from '../../src/linux/net/socket-address.js';
import { UdpSocket } from '../../src/linux/net/udp.js';
import { SendBatch } from '../../src/packets/send-batch.js';
import { ENDPOINT } from '../../src/packets/udp-batch.js';
import { CookieHolder } from '../../src/wireguard/cookie.js';
import { LENGTH } from '../../src/wireguard/crypto.js';
import { INITIATION, MESSAGE_TYPE, TRANSPORT } from '../../src/wireguard/messages.js';
import { createInitiation } from '../../src/wireguard/noise.js';
import { tai64n } from '../../src/wireguard/tai64n.js';
import type { FloodKind, FloodOrder } from './flood-order.js';
import { crypto, strangerKey } from './many-peers.js';

/** The number of different datagrams, sent in turn. */
const DIFFERENT = 1024;
const LENGTH_OF_DATA = TRANSPORT.overhead + 96;
const STRIDE = 192;
/** Milliseconds between two bursts. */
const TICK = 2;

/** Writes a datagram of a kind into a slot. @returns its length */
const WRITERS: Readonly<Record<FloodKind, (order: FloodOrder, out: Uint8Array, index: number) => number>> = {
  'random bytes': (_order, out) => {
    crypto.random(out.subarray(0, INITIATION.length));
    return INITIATION.length;
  },
  'unknown index': (_order, out) => transport(out, undefined),
  'bad tag': ({ index }, out) => transport(out, index),
  initiations: ({ publicKey }, out, index) => {
    const message = out.subarray(0, INITIATION.length);
    const view = new DataView(out.buffer, out.byteOffset);
    const responder = crypto.publicKey(Buffer.from(publicKey, 'base64'));
    const stranger = strangerKey(index);
    const shared = new Uint8Array(LENGTH.key);
    crypto.dh(stranger, responder, shared);
    const noise = message.subarray(INITIATION.ephemeral, INITIATION.mac1);
    const timestamp = tai64n(Math.floor(Date.now() / 1000), 0);
    createInitiation(crypto, stranger.publicKey, crypto.generate(), responder, shared, timestamp, noise);
    view.setUint32(0, MESSAGE_TYPE.initiation, true);
    view.setUint32(INITIATION.sender, index, true);
    new CookieHolder(crypto, responder.bytes).seal(message, 0);
    return INITIATION.length;
  },
};

/** A transport message with random contents. */
function transport(out: Uint8Array, index: number | undefined): number {
  const view = new DataView(out.buffer, out.byteOffset);
  crypto.random(out.subarray(0, LENGTH_OF_DATA));
  view.setUint32(0, MESSAGE_TYPE.transport, true);
  if (index !== undefined) view.setUint32(TRANSPORT.receiver, index, true);
  view.setUint32(TRANSPORT.counter, 1_000_000 + (view.getUint32(TRANSPORT.counter, true) & 0xffff), true);
  view.setUint32(TRANSPORT.counter + 4, 0, true);
  return LENGTH_OF_DATA;
}

/** @returns datagrams sent per second */
function flood(order: FloodOrder): number {
  const datagrams = allocate(DIFFERENT * STRIDE);
  let length = 0;
  for (let i = 0; i < DIFFERENT; i++) {
    length = WRITERS[order.kind](order, datagrams.bytes.subarray(i * STRIDE, (i + 1) * STRIDE), i);
  }
  const socket = UdpSocket.open(0);
  const endpoint = allocate(ENDPOINT.size);
  const remote = { address: parseAddress(order.address)!, port: order.port };
  endpoint.view.setUint32(
    ENDPOINT.nameLength,
    writeSocketAddress(endpoint.view, ENDPOINT.name, socket.family, remote),
    true,
  );
  const batch = new SendBatch(1024);
  const pause = new Int32Array(new SharedArrayBuffer(4));
  const start = performance.now();
  let sent = 0;
  let skipped = 0;
  for (let elapsed = 0; elapsed < order.seconds * 1000; elapsed = performance.now() - start) {
    const due = Math.floor((elapsed / 1000) * order.rate);
    // After a delay, catch up by at most a tenth of a second.
    const late = Math.max(0, Math.floor(due - sent - order.rate / 10));
    sent += late;
    skipped += late;
    for (; sent < due && batch.room > 0; sent++) {
      batch.addTo(datagrams.address + (sent % DIFFERENT) * STRIDE, length, endpoint, 0);
    }
    while (batch.pending > 0 && batch.flush(socket.fd) !== 0) batch.skip();
    if (sent >= due) Atomics.wait(pause, 0, 0, TICK);
  }
  socket.close();
  return ((sent - skipped) * 1000) / (performance.now() - start);
}

process.stdout.write('ready\n');
for await (const line of createInterface({ input: process.stdin })) {
  process.stdout.write(`${flood(JSON.parse(line) as FloodOrder)}\n`);
}

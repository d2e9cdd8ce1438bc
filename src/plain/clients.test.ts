import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseAddress } from '../ip/address.js';
import { CLIENT_LIFETIME, Clients, LEARNED, MAX_CLIENTS, OUTER_LENGTH } from './clients.js';

const SEED = 42;

/** The parts of a packet that `Clients` reads. */
function packet(source: string, destination = '10.0.0.1'): { bytes: Uint8Array; version: 4 | 6 } {
  const [from, to] = [parseAddress(source)!, parseAddress(destination)!];
  const version = from.length === 4 ? 4 : 6;
  const bytes = new Uint8Array(40);
  bytes.set(from, version === 4 ? 12 : 8);
  bytes.set(to, version === 4 ? 16 : 24);
  return { bytes, version };
}

const outer = (number: number) => {
  const bytes = new Uint8Array(OUTER_LENGTH);
  new DataView(bytes.buffer).setUint32(2, number);
  return bytes;
};

class Scene {
  readonly clients = new Clients(SEED);
  now = 0;
  hear(source: string, from: number) {
    const { bytes, version } = packet(source);
    return this.clients.hear(bytes, 0, version, outer(from), 0, this.now);
  }
  clientFor(destination: string): number {
    const { bytes, version } = packet(destination.includes(':') ? 'fd00::9' : '10.0.0.9', destination);
    return this.clients.clientFor(bytes, 0, version);
  }
}

test('without any client there is no receiver', () => {
  assert.equal(new Scene().clientFor('10.0.0.2'), -1);
});

test('a packet goes to the client that has used its destination as a source, by IPv4 and IPv6', () => {
  const scene = new Scene();
  assert.equal(scene.hear('10.0.0.2', 1), LEARNED.news);
  const first = scene.clients.heard;
  assert.equal(scene.hear('10.0.0.3', 2), LEARNED.news);
  const second = scene.clients.heard;
  assert.equal(scene.hear('fd00::3', 2), LEARNED.news);
  assert.notEqual(first, second);
  assert.equal(scene.clientFor('10.0.0.2'), first);
  assert.equal(scene.clientFor('10.0.0.3'), second);
  assert.equal(scene.clientFor('fd00::3'), second);
  assert.equal(scene.clients.count, 2);
});

test('a packet for an unknown destination goes to the only client, and to none when there are two', () => {
  const scene = new Scene();
  scene.hear('10.0.0.2', 1);
  assert.equal(scene.clientFor('192.168.1.7'), scene.clients.heard);
  scene.hear('10.0.0.3', 2);
  assert.equal(scene.clientFor('192.168.1.7'), -1);
});

test('a client is followed to a new NAT port, and the old one is forgotten', () => {
  const scene = new Scene();
  scene.hear('10.0.0.2', 1);
  assert.equal(scene.hear('10.0.0.2', 2), LEARNED.news);
  assert.equal(scene.clientFor('10.0.0.2'), scene.clients.heard);
  assert.equal(scene.clients.count, 1);
  assert.equal(scene.clientFor('10.0.0.99'), scene.clients.heard);
});

test('a known address is not reported again', () => {
  const scene = new Scene();
  scene.hear('10.0.0.2', 1);
  assert.equal(scene.hear('10.0.0.2', 1), LEARNED.nothing);
});

test('a silent client is forgotten, an active one is not', () => {
  const scene = new Scene();
  scene.hear('10.0.0.2', 1);
  scene.hear('10.0.0.3', 2);
  scene.now = CLIENT_LIFETIME - 1;
  scene.hear('10.0.0.3', 2);
  scene.now = CLIENT_LIFETIME;
  scene.clients.expire(scene.now);
  assert.equal(scene.clients.count, 1);
  assert.equal(scene.clientFor('10.0.0.2'), scene.clientFor('10.0.0.3')); // the only client now
});

for (const source of ['0.0.0.0', '127.0.0.1', '224.0.0.1', '255.255.255.255', '::', '::1', 'ff02::1']) {
  test(`nothing is learned from a packet that claims to come from ${source}`, () => {
    const scene = new Scene();
    assert.equal(scene.hear(source, 1), LEARNED.nothing);
    assert.equal(scene.clients.count, 0);
  });
}

test('an IPv6 address with leading zeros, as behind a NAT64, is learned', () => {
  const scene = new Scene();
  assert.equal(scene.hear('64:ff9b::192.0.2.1', 1), LEARNED.news);
});

test('a flood of strangers fills the table, but known clients are still served', () => {
  const scene = new Scene();
  scene.hear('10.0.0.2', 1);
  const client = scene.clients.heard;
  let refused = 0;
  for (let i = 0; i < 100_000; i++) {
    const source = `10.${1 + (i >> 16)}.${(i >> 8) & 0xff}.${i & 0xff}`;
    if (scene.hear(source, 2 + i) === LEARNED.tableFull) refused++;
  }
  assert.equal(scene.clients.count, MAX_CLIENTS);
  assert.equal(refused, 100_000 - (MAX_CLIENTS - 1));
  assert.equal(scene.hear('10.0.0.2', 1), LEARNED.nothing);
  assert.equal(scene.clientFor('10.0.0.2'), client);
});

test('one client with very many inner addresses cannot overflow the table', () => {
  const scene = new Scene();
  let refused = 0;
  for (let i = 0; i < 5000; i++) {
    if (scene.hear(`10.1.${i >> 8}.${i & 0xff}`, 1) === LEARNED.tableFull) refused++;
  }
  assert.equal(refused, 5000 - 4096);
  scene.now = CLIENT_LIFETIME;
  scene.clients.expire(scene.now);
  assert.equal(scene.clients.count, 0);
  assert.equal(scene.hear('10.9.9.9', 3), LEARNED.news);
});

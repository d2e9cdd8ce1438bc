import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { StoredNode } from '../machine/stored.js';
import { OwnRecord } from './own-record.js';

const YOU = {
  id: 2,
  name: 'laptop',
  ipv4: '10.77.0.2',
  ipv6: 'fd77::2',
  admin: false,
  pending: false,
  shares: [],
};
const NODE: StoredNode = {
  network: { id: 'f00', name: 'home', ipv4: '10.77.0.0/16', ipv6: 'fd77::/64', mtu: 1280 },
  you: YOU,
  hub: { key: '', addresses: [], proven: [] },
  port: 41_641,
  device: 'lametun',
  shares: [],
};

function record(node = NODE) {
  const kept: StoredNode[] = [];
  return { kept, own: new OwnRecord(node, (changed) => kept.push(changed)) };
}

test('the hub can change rights, shares and the name, but not the identity of this node', () => {
  const { own, kept } = record();
  own.setYou({ ...YOU, admin: true, name: 'notebook', ipv4: '10.77.0.9', ipv6: 'fd77::9', id: 9 });
  assert.deepEqual(own.node.you, { ...YOU, admin: true, name: 'notebook' });
  assert.deepEqual(kept, [own.node]);
});

test('a pending node has no address, and keeps the first one that it gets', () => {
  const { ipv4: _, ipv6: __, ...waiting } = { ...YOU, pending: true };
  const { own } = record({ ...NODE, you: waiting });
  own.setYou({ ...waiting, admin: true });
  assert.deepEqual(own.node.you, { ...waiting, admin: true });
  own.setYou(YOU);
  assert.deepEqual(own.node.you, YOU);
});

test('an unchanged record is not written', () => {
  const { own, kept } = record();
  own.setYou({ ...YOU });
  assert.deepEqual(kept, []);
});

test('whether other members take this node to have IPv6 is recorded', () => {
  const { own } = record();
  own.setYou({ ...YOU, ipv4Only: true });
  assert.deepEqual(own.node.you, { ...YOU, ipv4Only: true });
  own.setYou(YOU);
  assert.deepEqual(own.node.you, YOU);
});

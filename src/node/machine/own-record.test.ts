import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { StoredNode } from '../shell/state.js';
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

function record(write: (node: StoredNode) => void = () => {}, node = NODE) {
  const seen = { written: [] as StoredNode[], errors: [] as string[], changes: 0 };
  const writeNode = (node: StoredNode): void => {
    write(node);
    seen.written.push(node);
  };
  const log = { error: (message: string) => void seen.errors.push(message) };
  return { seen, own: new OwnRecord(node, { writeNode }, log, () => void seen.changes++) };
}

test('the hub can change rights, shares and the name, but not who this node is', () => {
  const { own, seen } = record();
  own.setYou({ ...YOU, admin: true, name: 'notebook', ipv4: '10.77.0.9', ipv6: 'fd77::9', id: 9 });
  assert.deepEqual(own.node.you, { ...YOU, admin: true, name: 'notebook' });
  assert.deepEqual(seen.written, [own.node]);
  assert.equal(seen.changes, 1);
});

test('a node that waits has no address, and the first that it gets is its own', () => {
  const { ipv4: _, ipv6: __, ...waiting } = { ...YOU, pending: true };
  const { own } = record(() => {}, { ...NODE, you: waiting });
  own.setYou({ ...waiting, admin: true });
  assert.deepEqual(own.node.you, { ...waiting, admin: true });
  own.setYou(YOU);
  assert.deepEqual(own.node.you, YOU);
});

test('what is as it was is not written, and nobody is told', () => {
  const { own, seen } = record();
  own.setYou({ ...YOU });
  assert.deepEqual(seen, { written: [], errors: [], changes: 0 });
});

test('what the others think of its IPv6 is kept, and forgotten again', () => {
  const { own } = record();
  own.setYou({ ...YOU, ipv4Only: true });
  assert.deepEqual(own.node.you, { ...YOU, ipv4Only: true });
  own.setYou(YOU);
  assert.deepEqual(own.node.you, YOU);
});

test('what cannot be written holds nevertheless, and is logged', () => {
  const { own, seen } = record(() => {
    throw new Error('no space');
  });
  own.setShares(['192.168.1.0/24'], [{ network: '192.168.1.0/24', state: 'pending' }]);
  assert.deepEqual(own.node.shares, ['192.168.1.0/24']);
  assert.deepEqual(seen.errors, ['no space']);
  assert.equal(seen.changes, 1);
});

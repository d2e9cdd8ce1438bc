import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Membership } from '../../protocol/messages.js';
import { updatedRecord } from './own-record.js';

const RECORD: Membership = {
  id: 2,
  name: 'laptop',
  ipv4: '10.77.0.2',
  ipv6: 'fd77::2',
  admin: false,
  pending: false,
  shares: [],
};

test('the hub can change rights, shares and the name, but not the identity of this node', () => {
  const change = {
    admin: true,
    name: 'notebook',
    shares: [{ network: '10.1.0.0/16', state: 'pending' as const }],
  };
  const told = { ...RECORD, ...change, ipv4: '10.77.0.9', ipv6: 'fd77::9', id: 9 };
  assert.deepEqual(updatedRecord(RECORD, told), { ...RECORD, ...change });
});

test('a pending node has no address, and keeps the first one that it gets', () => {
  const { ipv4: _, ipv6: __, ...pending } = { ...RECORD, pending: true };
  assert.deepEqual(updatedRecord(pending, { ...pending, admin: true }), { ...pending, admin: true });
  assert.deepEqual(updatedRecord(pending, RECORD), RECORD);
});

test('an unchanged record has the same text, so that it is not written again', () => {
  assert.equal(JSON.stringify(updatedRecord(RECORD, { ...RECORD })), JSON.stringify(RECORD));
});

test('whether other members take this node to have IPv6 is recorded', () => {
  const told: Membership = { ...RECORD, ipv4Only: true };
  assert.deepEqual(updatedRecord(RECORD, told), told);
  assert.deepEqual(updatedRecord(told, RECORD), RECORD);
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { OfferedShare } from '../../protocol/messages.js';
import { corrections } from './corrections.js';

const offer = (network: string, state: OfferedShare['state']): OfferedShare => ({ network, state });

/** The corrections for a hub that knows these shares, and believes this of the node's IPv6. */
function missing(wanted: readonly string[], known: readonly OfferedShare[], hasIpv6 = true, ipv4Only?: true) {
  const you = { id: 2, name: 'gateway', ipv4: '10.77.0.2', ipv6: 'fd77::2', admin: false, pending: false };
  const record = { ...you, ...(ipv4Only && { ipv4Only }), shares: known };
  return corrections({ you: record, shares: wanted }, hasIpv6);
}

test('a hub with the right information is told nothing', () => {
  assert.deepEqual(missing([], []), []);
  const known = [offer('10.5.0.0/16', 'refused'), offer('192.168.1.0/24', 'approved')];
  assert.deepEqual(missing(['192.168.1.7/24', '10.5.0.0/16', '192.168.1.0/24'], known), []);
  assert.deepEqual(missing([], [], false, true), []);
});

test('a hub that has lost the offered shares is told them again', () => {
  const shares = ['192.168.1.0/24', '10.5.0.0/16'];
  assert.deepEqual(missing(shares, [offer('10.5.0.0/16', 'approved')]), [{ type: 'share', shares }]);
});

test('a hub that still lists a withdrawn share is told', () => {
  assert.deepEqual(missing([], [offer('10.5.0.0/16', 'approved')]), [{ type: 'share', shares: [] }]);
});

test('a hub that is wrong about IPv6 on this machine is told', () => {
  assert.deepEqual(missing([], [], false), [{ type: 'host-info', ipv6: false }]);
  assert.deepEqual(missing([], [], true, true), [{ type: 'host-info', ipv6: true }]);
});

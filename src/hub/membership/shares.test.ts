import assert from 'node:assert/strict';
import { test } from 'node:test';
import { canonicalNetwork, isAllowed, whyNotShareable } from './shares.js';

const RANGES = ['10.77.0.0/16', 'fd12::/64'];
const why = (network: string, others: { network: string; node: string }[] = []) =>
  whyNotShareable(network, RANGES, others);

test('networks behind a gateway can be shared', () => {
  for (const network of [
    '192.168.1.0/24',
    '10.0.0.0/16',
    '10.76.0.0/16',
    '172.16.0.0/12',
    '203.0.113.7/32',
    '2001:db8:1::/48',
    'fd13::/64',
  ]) {
    assert.equal(why(network), undefined, network);
  }
});

test('networks without hosts, or too large ones, cannot be shared', () => {
  for (const network of [
    '0.0.0.0/0',
    '::/0',
    '0.0.0.0/1',
    '128.0.0.0/1',
    '64.0.0.0/7',
    '2000::/3',
    '127.0.0.0/8',
    '127.5.0.0/16',
    '::1/128',
    '169.254.0.0/16',
    'fe80::/64',
    '224.0.0.0/4',
    '239.1.1.1/32',
    'ff02::/16',
    '255.255.255.255/32',
    '0.0.0.0/8',
  ]) {
    assert.ok(why(network) !== undefined, network);
  }
});

test('a share must not overlap the network’s own range', () => {
  for (const network of ['10.77.0.0/16', '10.77.4.0/24', '10.0.0.0/8', 'fd12::5/128', 'fd12::/48']) {
    assert.match(why(network)!, /the range of the network itself/);
  }
});

test('an overlap with another node’s share names that node', () => {
  const others = [{ network: '192.168.0.0/16', node: 'office' }];
  assert.equal(why('192.168.4.0/24', others), 'overlaps 192.168.0.0/16 of office');
  assert.equal(why('192.0.0.0/8', others), 'overlaps 192.168.0.0/16 of office');
  assert.equal(why('192.169.0.0/16', others), undefined);
});

test('an invitation for a network also allows its parts', () => {
  assert.ok(isAllowed('192.168.1.0/24', ['192.168.0.0/16']));
  assert.ok(isAllowed('192.168.0.0/16', ['192.168.0.0/16']));
  assert.ok(!isAllowed('192.168.0.0/15', ['192.168.0.0/16']));
  assert.ok(!isAllowed('fd00::/64', ['192.168.0.0/16']));
});

test('a network is written without host bits', () => {
  assert.equal(canonicalNetwork('192.168.1.7/24'), '192.168.1.0/24');
  assert.equal(canonicalNetwork('FD00::1/64'), 'fd00::/64');
  assert.equal(canonicalNetwork('192.168.1.0'), undefined);
});

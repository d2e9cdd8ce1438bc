import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseAddress } from '../../ip/address.js';
import { type Cidr, parseCidr } from '../../ip/cidr.js';
import { checkOwnShare, type LocalRoute, shareCollision } from './ranges.js';

const cidr = (text: string): Cidr => parseCidr(text)!;
const route = (text: string, device = 'eth0'): LocalRoute => ({
  destination: cidr(text),
  name: `the route ${text} dev ${device}`,
  local: false,
});
const RANGES = [cidr('10.7.0.0/16'), cidr('fd12:3456:789a::/64')];

test("a member's share is refused if it is too wide, or overlaps what this machine uses", () => {
  const around = {
    routes: [route('192.168.1.0/24'), route('172.20.0.0/14')],
    ownShares: [cidr('192.168.5.0/24')],
    ranges: RANGES,
    hosts: [parseAddress('203.0.113.5')!],
  };
  const refused: Record<string, RegExp> = {
    '0.0.0.0/0': /too wide/,
    '0.0.0.0/1': /too wide/,
    '::/0': /too wide/,
    '192.168.1.128/25': /collides with the route 192\.168\.1\.0\/24/,
    '192.168.0.0/16': /overlaps 192\.168\.5\.0\/24, which this machine shares/,
    '10.7.200.0/24': /the network's own range 10\.7\.0\.0\/16/,
    '203.0.113.0/24': /contains 203\.0\.113\.5/,
    '127.0.0.0/8': /not a network that others can reach/,
    'fe80::/64': /not a network/,
    '192.168.9.1/24': /host bits/,
  };
  for (const [share, why] of Object.entries(refused)) assert.match(shareCollision(cidr(share), around)!, why);
  for (const share of ['192.168.9.0/24', '10.8.0.0/16', 'fd77::/64', '203.0.113.64/26']) {
    assert.equal(shareCollision(cidr(share), around), undefined, share);
  }
});

test('a node can share only networks that it has a route to', () => {
  const routes = [route('192.168.1.0/24'), route('172.16.0.0/12'), route('fd07::/64')];
  for (const share of ['192.168.1.0/24', '192.168.1.64/26', '192.168.0.0/16', '172.17.0.0/16', 'fd07::/64'])
    checkOwnShare(share, routes, RANGES);
  const wrong: Record<string, RegExp> = {
    '192.168.1.0': /write it as 192\.168\.1\.0\/24/,
    '192.168.1.7/24': /cannot be shared: it has host bits set/,
    '0.0.0.0/0': /too wide/,
    '10.7.0.0/24': /overlaps the network's own range/,
    '192.168.2.0/24': /no route to 192\.168\.2\.0\/24: .*ip route add 192\.168\.2\.0\/24 via/,
  };
  for (const [share, message] of Object.entries(wrong)) {
    assert.throws(() => checkOwnShare(share, routes, RANGES), { code: 'usage', message });
  }
});

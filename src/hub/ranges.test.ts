import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatAddress } from '../ip/address.js';
import { overlap, parseCidr } from '../ip/cidr.js';
import { SeededRandom } from '../testkit/random.js';
import { chooseIpv4Range, chooseIpv6Range, hostAddress } from './ranges.js';

const cidrs = (...texts: string[]) => texts.map((text) => parseCidr(text)!);
const generator = new SeededRandom(1);
const random = (limit: number): number => generator.below(limit);

test('a range collides with no route of this machine', () => {
  const taken = cidrs('10.0.0.0/9', '172.16.0.0/12', '100.64.0.0/11', '192.168.0.0/16', '10.200.3.4/32');
  for (let i = 0; i < 500; i++) {
    const range = parseCidr(chooseIpv4Range(taken, random)!)!;
    assert.equal(range.prefix, 16);
    assert.ok(!taken.some((route) => overlap(route, range)));
  }
});

test('a default route, and the halves that stand in for one, take nothing', () => {
  assert.ok(chooseIpv4Range(cidrs('0.0.0.0/0', '0.0.0.0/1', '128.0.0.0/1', '::/0'), random) !== undefined);
});

test('ranges that everybody uses are chosen only when there is no other', () => {
  const chosen = new Set(Array.from({ length: 3_000 }, () => chooseIpv4Range([], random)));
  assert.ok(chosen.size > 250);
  assert.ok(!chosen.has('10.0.0.0/16') && !chosen.has('172.17.0.0/16'));
  const allButOne = [
    '1.0.0/16',
    '2.0.0/15',
    '4.0.0/14',
    '8.0.0/13',
    '16.0.0/12',
    '32.0.0/11',
    '64.0.0/10',
    '128.0.0/9',
  ];
  const taken = cidrs(...allButOne.map((rest) => `10.${rest}`), '172.16.0.0/12', '100.64.0.0/10');
  assert.equal(chooseIpv4Range(taken, random), '10.0.0.0/16');
});

test('when every range is taken there is none', () => {
  assert.equal(chooseIpv4Range(cidrs('10.0.0.0/8', '172.16.0.0/12', '100.64.0.0/10'), random), undefined);
});

test('an IPv6 range is a /64 of a random unique local /48', () => {
  const ranges = Array.from({ length: 100 }, () => chooseIpv6Range(random));
  assert.equal(new Set(ranges).size, 100);
  for (const range of ranges) assert.match(range, /^fd[0-9a-f:]+\/64$/);
});

test('hosts are counted from the beginning of their network', () => {
  const at = (network: string, host: number) => formatAddress(hostAddress(parseCidr(network)!, host));
  assert.equal(at('10.7.0.0/16', 1), '10.7.0.1');
  assert.equal(at('10.7.0.0/16', 65_534), '10.7.255.254');
  assert.equal(at('fd00:1::/64', 65_536), 'fd00:1::1:0');
});

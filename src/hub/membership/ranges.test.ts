import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SeededRandom } from '../../../tests/kit/random.js';
import { formatAddress } from '../../ip/address.js';
import { type Cidr, contains, covers, formatCidr, networkOf, overlap, parseCidr } from '../../ip/cidr.js';
import { memberRange } from '../../protocol/layout.js';
import { chooseRange, hostAddress, parseRange } from './ranges.js';

const seeded = (seed: number) => {
  const random = new SeededRandom(seed);
  return (out: Uint8Array): void => {
    for (let i = 0; i < out.length; i++) out[i] = random.below(256);
  };
};
const cidrs = (...texts: string[]): Cidr[] => texts.map((text) => parseCidr(text)!);
const chosen = (avoid: readonly Cidr[], count = 300) =>
  Array.from({ length: count }, (_, seed) => chooseRange(avoid, seeded(seed)));
const POOL = parseCidr('10.0.0.0/8')!;
const CARRIER = parseCidr('100.64.0.0/10')!;

test('a range is a random /15 of 10.0.0.0/8 and the first /64 of a unique local /48', () => {
  const seen = new Set<string>();
  for (const { ipv4, ipv6 } of chosen([])) {
    assert.equal(ipv4.prefix, 15);
    assert.deepEqual(networkOf(ipv4), ipv4);
    assert.ok(covers(POOL, ipv4));
    assert.match(formatCidr(ipv6), /^fd[0-9a-f:]+::\/64$/);
    assert.deepEqual([...ipv6.address.subarray(6)], Array(10).fill(0));
    seen.add(formatCidr(ipv4));
  }
  assert.ok(seen.size > 80, `only ${seen.size} of 300 differ`);
});

test('members get addresses from the lower half of a range, and from all of the first /64', () => {
  const members = (text: string): string => formatCidr(memberRange(parseCidr(text)!));
  assert.equal(members('10.76.0.0/15'), '10.76.0.0/16');
  assert.equal(members('192.168.8.0/24'), '192.168.8.0/25');
  assert.equal(members('fd12:3456:789a::/64'), 'fd12:3456:789a::/64');
});

test('the chosen range contains no network or address of this machine', () => {
  const avoid = cidrs('10.128.0.0/9', '10.64.7.0/24', '10.67.1.2/32', '0.0.0.0/0', '::/0');
  for (const { ipv4 } of chosen(avoid))
    for (const other of avoid.filter(({ prefix }) => prefix > 0)) assert.ok(!overlap(ipv4, other));
  const everywhere = cidrs('10.0.0.0/9', '10.128.0.0/9', '10.6.0.0/16', '172.16.0.0/12', 'fc00::/7');
  for (const { ipv4 } of chosen(everywhere)) {
    assert.ok(covers(POOL, ipv4), 'within a wider network if there is no other choice');
    assert.ok(!overlap(ipv4, everywhere[2]!));
  }
});

test('nothing is chosen from 100.64.0.0/10, even if everything else is in use', () => {
  for (const { ipv4 } of chosen([])) assert.ok(!overlap(ipv4, CARRIER));
  const all = Array.from({ length: 128 }, (_, i) => parseCidr(`10.${2 * i}.1.0/24`)!);
  assert.throws(() => chooseRange(all, seeded(1)), { code: 'missing', message: /--range/ });
  const given = parseCidr('100.72.0.0/15')!;
  assert.deepEqual(chooseRange(all, seeded(1), given).ipv4, given);
});

test('ranges that others use by default are chosen last', () => {
  const all = Array.from({ length: 128 }, (_, i) => parseCidr(`10.${2 * i}.0.0/15`)!);
  const free = (...indices: number[]) => all.filter((_, i) => !indices.includes(i));
  for (const { ipv4 } of chosen(free(0, 48, 90), 50)) assert.equal(formatCidr(ipv4), '10.180.0.0/15');
  assert.equal(formatCidr(chosen(free(48), 1)[0]!.ipv4), '10.96.0.0/15');
});

test('an IPv6 network in use is not chosen', () => {
  const first = chooseRange([], seeded(7)).ipv6;
  const again = chooseRange([{ address: first.address, prefix: 48 }], seeded(7)).ipv6;
  assert.ok(!contains({ address: first.address, prefix: 48 }, again.address));
});

test('a default route, or its two halves, occupies no range', () => {
  const avoid = cidrs('0.0.0.0/0', '0.0.0.0/1', '128.0.0.0/1', '::/0', '8000::/1');
  assert.deepEqual(chooseRange(avoid, seeded(3)), chooseRange([], seeded(3)));
});

test('a requested range must be private or shared, from /15 to /24, without host bits', () => {
  for (const text of ['10.2.0.0/15', '172.30.0.0/15', '192.168.0.0/16', '100.72.0.0/15', '10.1.2.0/24'])
    assert.equal(parseRange(text), text);
  const wrong: Record<string, RegExp> = {
    '10.2.0.0': /write an IPv4 network/,
    'fd00::/64': /write an IPv4 network/,
    '10.3.0.0/15': /did you mean 10\.2\.0\.0\/15\?/,
    '10.0.0.0/14': /\/15 to \/24/,
    '10.1.2.0/25': /\/15 to \/24/,
    '203.0.112.0/20': /private or shared/,
    '192.168.0.0/15': /private or shared/,
  };
  for (const [text, message] of Object.entries(wrong))
    assert.throws(() => parseRange(text), { code: 'usage', message }, text);
});

test('hosts are numbered from the start of their network', () => {
  const at = (network: string, host: number) => formatAddress(hostAddress(parseCidr(network)!, host));
  assert.equal(at('10.7.0.0/16', 1), '10.7.0.1');
  assert.equal(at('10.7.0.0/16', 65_534), '10.7.255.254');
  assert.equal(at('fd00:1::/64', 65_536), 'fd00:1::1:0');
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatAddress } from '../ip/address.js';
import { type Cidr, contains, formatCidr, networkOf, overlap, parseCidr } from '../ip/cidr.js';
import { SeededRandom } from '../testkit/random.js';
import { chooseRange, hostAddress } from './ranges.js';

const seeded = (seed: number) => {
  const random = new SeededRandom(seed);
  return (out: Uint8Array): void => {
    for (let i = 0; i < out.length; i++) out[i] = random.below(256);
  };
};
const cidrs = (...texts: string[]): Cidr[] => texts.map((text) => parseCidr(text)!);
const chosen = (avoid: readonly Cidr[], count = 300) =>
  Array.from({ length: count }, (_, seed) => chooseRange(avoid, seeded(seed)));
const POOLS = cidrs('10.0.0.0/8', '100.64.0.0/10', '172.16.0.0/12');

test('a range is a private /16 and the first /64 of a unique local /48', () => {
  const seen = new Set<string>();
  for (const { ipv4, ipv6 } of chosen([])) {
    assert.equal(ipv4.prefix, 16);
    assert.deepEqual(networkOf(ipv4), ipv4);
    assert.ok(POOLS.some((pool) => overlap(pool, ipv4)));
    assert.match(formatCidr(ipv6), /^fd[0-9a-f:]+::\/64$/);
    assert.deepEqual([...ipv6.address.subarray(6)], Array(10).fill(0));
    seen.add(formatCidr(ipv4));
  }
  assert.ok(seen.size > 120, `only ${seen.size} of 300 differ`);
  for (const pool of POOLS) {
    const hit = [...seen].some((text) => overlap(pool, parseCidr(text)!));
    assert.equal(hit, pool.address[0] !== 172, `${formatCidr(pool)}`); // Docker's default takes all of 172.16.0.0/12
  }
});

test('nothing that is to be avoided is chosen, narrower or wider than a /16', () => {
  const avoid = cidrs('10.128.0.0/9', '10.64.7.0/24', '10.65.1.2/32', '0.0.0.0/0', '::/0');
  for (const { ipv4 } of chosen(avoid)) {
    for (const other of avoid.filter(({ prefix }) => prefix > 0)) assert.ok(!overlap(ipv4, other));
  }
});

test('one address in 100.64.0.0/10 keeps it out of all of that', () => {
  const carrier = parseCidr('100.64.0.0/10')!;
  assert.ok(
    chosen([]).some(({ ipv4 }) => overlap(ipv4, carrier)),
    'it is chosen otherwise',
  );
  for (const { ipv4 } of chosen(cidrs('100.100.100.100/32'))) assert.ok(!overlap(ipv4, carrier));
});

test('what others use by default is taken last, and nothing at all when all is in use', () => {
  const [only] = chosen(
    cidrs('10.0.0.0/8', '100.64.0.0/10', '172.24.0.0/13', '172.16.0.0/14', '172.20.0.0/15', '172.22.0.0/16'),
    1,
  );
  assert.equal(formatCidr(only!.ipv4), '172.23.0.0/16');
  assert.throws(() => chooseRange(POOLS, seeded(1)), { code: 'missing', message: /10\.0\.0\.0\/8/ });
});

test('an IPv6 network in use is not chosen', () => {
  const first = chooseRange([], seeded(7)).ipv6;
  const again = chooseRange([{ address: first.address, prefix: 48 }], seeded(7)).ipv6;
  assert.ok(!contains({ address: first.address, prefix: 48 }, again.address));
  assert.throws(() => chooseRange(cidrs('fc00::/7'), seeded(7)), { code: 'missing', message: /fd00::\/8/ });
});

test('a default route, and the halves that stand in for one, take nothing', () => {
  const avoid = cidrs('0.0.0.0/0', '0.0.0.0/1', '128.0.0.0/1', '::/0', '8000::/1');
  assert.ok(POOLS.some((pool) => overlap(pool, chooseRange(avoid, seeded(3)).ipv4)));
});

test('hosts are counted from the beginning of their network', () => {
  const at = (network: string, host: number) => formatAddress(hostAddress(parseCidr(network)!, host));
  assert.equal(at('10.7.0.0/16', 1), '10.7.0.1');
  assert.equal(at('10.7.0.0/16', 65_534), '10.7.255.254');
  assert.equal(at('fd00:1::/64', 65_536), 'fd00:1::1:0');
});

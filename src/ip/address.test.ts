import assert from 'node:assert/strict';
import { isIP, SocketAddress } from 'node:net';
import { test } from 'node:test';
import fc from 'fast-check';
import { addressesEqual, formatAddress, isIpv4Mapped, parseAddress, toIpv6 } from './address.js';
import { contains, formatCidr, networkOf, parseCidr } from './cidr.js';

const anyAddress = fc.oneof(
  fc.uint8Array({ minLength: 4, maxLength: 4 }),
  fc.uint8Array({ minLength: 16, maxLength: 16 }),
  // With runs of zeros, which are rare in random bytes.
  fc
    .array(fc.constantFrom(0, 0, 0, 1, 0xff), { minLength: 16, maxLength: 16 })
    .map((bytes) => Uint8Array.from(bytes)),
);

test('formatting and parsing an address returns the same address', () => {
  fc.assert(
    fc.property(anyAddress, (address) => {
      const again = parseAddress(formatAddress(address));
      const expected = isIpv4Mapped(address) ? address.slice(12) : address;
      assert.deepEqual(again, expected);
    }),
  );
});

test('IPv6 text follows RFC 5952, as in Node.js', () => {
  fc.assert(
    fc.property(anyAddress, (address) => {
      if (address.length === 4 || isIpv4Mapped(address)) return;
      const groups = Array.from({ length: 8 }, (_, i) => (address[2 * i]! << 8) | address[2 * i + 1]!);
      const url = new URL(`http://[${groups.map((group) => group.toString(16)).join(':')}]/`);
      assert.equal(`[${formatAddress(address)}]`, url.hostname);
    }),
  );
});

test('text is an address if and only if Node.js accepts it', () => {
  const fragment = fc.constantFrom(
    '0',
    '1',
    'ff',
    ':',
    '::',
    '.',
    '1.2.3.4',
    '256',
    '01',
    'g',
    '-',
    ' ',
    '65536',
  );
  fc.assert(
    fc.property(fc.array(fragment, { maxLength: 12 }), (parts) => {
      const text = parts.join('');
      assert.equal(parseAddress(text)?.length ?? 0, { 0: 0, 4: 4, 6: 16 }[isIP(text)], text);
    }),
    { numRuns: 5000 },
  );
});

for (const text of [
  '010.0.0.1',
  '1.2.3',
  '1.2.3.4.5',
  '1.2.3.256',
  '1::2::3',
  ':::',
  '1:2',
  'fe80::1%eth0',
  '',
]) {
  test(`"${text}" is not an address`, () => assert.equal(parseAddress(text), undefined));
}

test('an IPv4-mapped IPv6 address is the same address', () => {
  const address = parseAddress('192.0.2.1')!;
  assert.equal(formatAddress(toIpv6(address)), '192.0.2.1');
  assert.ok(addressesEqual(parseAddress('::ffff:192.0.2.1')!, toIpv6(address)));
  assert.equal(new SocketAddress({ address: '::ffff:192.0.2.1', family: 'ipv6' }).family, 'ipv6');
});

test('a network contains exactly the addresses with its prefix', () => {
  fc.assert(
    fc.property(anyAddress, anyAddress, fc.nat(128), (address, other, length) => {
      const prefix = Math.min(length, 8 * address.length);
      const network = networkOf({ address, prefix });
      const bits = (bytes: Uint8Array) =>
        [...bytes].map((byte) => byte.toString(2).padStart(8, '0')).join('');
      const expected =
        address.length === other.length && bits(address).slice(0, prefix) === bits(other).slice(0, prefix);
      assert.equal(contains(network, other), expected);
      assert.ok(contains(network, address));
      assert.match(bits(network.address).slice(prefix), /^0*$/);
    }),
  );
});

test('a parsed network is formatted as the same text', () => {
  assert.equal(formatCidr(parseCidr('10.0.0.1/24')!), '10.0.0.1/24');
  assert.equal(formatCidr(networkOf(parseCidr('2001:db8::1/32')!)), '2001:db8::/32');
});

for (const text of [
  '10.0.0.1',
  '10.0.0.1/33',
  '10.0.0.1/-1',
  '10.0.0.1/024',
  '10.0.0.1/',
  '::/129',
  '/8',
  'x/8',
]) {
  test(`"${text}" is not a network`, () => assert.equal(parseCidr(text), undefined));
}

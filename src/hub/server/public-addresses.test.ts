import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseCidr } from '../../ip/cidr.js';
import { isLoopback, tokenAddresses } from './public-addresses.js';

const texts = (given: string[], own: string[] = []) =>
  tokenAddresses(given, 4443, own).addresses.map(
    ({ host, port, tls }) => `${tls ? 'tls ' : ''}${host} ${port}`,
  );

test('given addresses are used unchanged', () => {
  assert.deepEqual(
    texts([
      'hub.example.org',
      'hub.example.org:8443',
      '203.0.113.5',
      '203.0.113.5:1',
      '2001:db8::1',
      '[2001:db8::1]:99',
      'https://vpn.example.org',
      'https://vpn.example.org:8443/',
    ]),
    [
      'hub.example.org 4443',
      'hub.example.org 8443',
      '203.0.113.5 4443',
      '203.0.113.5 1',
      '2001:db8::1 4443',
      '2001:db8::1 99',
      'tls vpn.example.org 443',
      'tls vpn.example.org 8443',
    ],
  );
  assert.deepEqual(tokenAddresses(['10.0.0.1'], 1, []).warnings, []);
});

test('an invalid address is refused with the valid forms', () => {
  for (const text of [
    '',
    ':443',
    'a b',
    'host:99999',
    'host:0',
    '[::1',
    '[host]:4',
    'http://plain.example.org',
    'https://x/path',
    'host:1:2',
  ]) {
    assert.throws(() => texts([text]), /--public .*write HOST, HOST:PORT/, text);
  }
});

test('without them, public addresses of this machine come before private ones', () => {
  const own = [
    '127.0.0.1',
    '10.1.1.1',
    '203.0.113.5',
    '::1',
    'fe80::1',
    'fd00::1',
    '2001:db8::1',
    '169.254.3.3',
    '100.64.0.9',
  ];
  assert.deepEqual(texts([], own), [
    '203.0.113.5 4443',
    '2001:db8::1 4443',
    '10.1.1.1 4443',
    'fd00::1 4443',
    '100.64.0.9 4443',
  ]);
  assert.deepEqual(tokenAddresses([], 1, own).warnings, []);
});

test('an address inside the network does not go into a token', () => {
  const inside = [parseCidr('10.143.0.0/16')!, parseCidr('fd01::/64')!];
  const own = ['10.143.0.1', 'fd01::1', '10.1.1.1'];
  assert.deepEqual(
    tokenAddresses([], 443, own, inside).addresses.map(({ host }) => host),
    ['10.1.1.1'],
  );
});

test('a machine without a public address causes a warning, one without any address is refused', () => {
  const { addresses, warnings } = tokenAddresses([], 443, ['127.0.0.1', '192.168.1.2']);
  assert.equal(addresses.length, 1);
  assert.match(warnings[0]!, /none of these addresses is public.*--public/);
  assert.throws(
    () => tokenAddresses([], 443, ['127.0.0.1', 'fe80::1']),
    /no address that others could reach/,
  );
});

test('loopback addresses are recognized', () => {
  assert.ok(isLoopback('127.0.0.1') && isLoopback('::1'));
  assert.ok(!isLoopback('10.0.0.1') && !isLoopback('nonsense'));
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { formatAddress } from '../../ip/address.js';
import { formatCidr } from '../../ip/cidr.js';
import { UapiError } from './error.js';
import { parseSetLine, type Section } from './parse.js';

const parse = (text: string, section: Section = 'peer') => parseSetLine(Buffer.from(text, 'latin1'), section);
const errnoOf = (text: string, section: Section = 'peer'): number => {
  try {
    parse(text, section);
    return 0;
  } catch (error) {
    assert.ok(error instanceof UapiError, `${error}`);
    return error.errno;
  }
};
const KEY = '0123456789abcdefABCDEF'.padEnd(64, '7');

test('keys are 32 bytes in upper- or lower-case hexadecimal', () => {
  for (const [key, section] of [
    ['private_key', 'device'],
    ['public_key', 'device'],
    ['public_key', 'peer'],
    ['preshared_key', 'peer'],
  ] as const) {
    const line = parse(`${key}=${KEY}`, section);
    assert.deepEqual(line, { key, value: new Uint8Array(Buffer.from(KEY, 'hex')) });
    for (const bad of [
      '',
      'ab',
      KEY.slice(1),
      `${KEY}0`,
      `${KEY.slice(1)}g`,
      `${KEY} `,
      KEY.replace('7', ' '),
    ])
      assert.equal(errnoOf(`${key}=${bad}`, section), 22, bad);
  }
});

test('numbers are decimal, may have leading zeros, and have limits', () => {
  for (const [key, section, max] of [
    ['listen_port', 'device', 65_535],
    ['fwmark', 'device', 4_294_967_295],
    ['persistent_keepalive_interval', 'peer', 65_535],
  ] as const) {
    for (const [text, value] of [
      ['0', 0],
      ['007', 7],
      [`${max}`, max],
    ] as const)
      assert.deepEqual(parse(`${key}=${text}`, section), { key, value });
    for (const bad of ['', '-1', '+1', ' 1', '1 ', '0x10', '1e3', 'off', `${max + 1}`, '9'.repeat(400)])
      assert.equal(errnoOf(`${key}=${bad}`, section), 22, bad);
  }
});

test('flags have one value', () => {
  for (const [key, section, value] of [
    ['replace_peers', 'device', 'true'],
    ['remove', 'peer', 'true'],
    ['update_only', 'peer', 'true'],
    ['replace_allowed_ips', 'peer', 'true'],
    ['protocol_version', 'peer', '1'],
  ] as const) {
    assert.deepEqual(parse(`${key}=${value}`, section), { key });
    for (const bad of ['', 'false', 'TRUE', '2', `${value}x`])
      assert.equal(errnoOf(`${key}=${bad}`, section), 22);
  }
});

test('an endpoint is IPv4, or IPv6 in brackets with an optional zone, but never a name', () => {
  const endpoint = (text: string): string => {
    const line = parse(`endpoint=${text}`);
    assert.ok(line.key === 'endpoint');
    const { address, port, zone } = line.value;
    return `${formatAddress(address)} ${port} ${zone ?? '-'}`;
  };
  assert.equal(endpoint('192.0.2.1:51820'), '192.0.2.1 51820 -');
  assert.equal(endpoint('[2001:db8::1]:0'), '2001:db8::1 0 -');
  assert.equal(endpoint('[fe80::1%eth0]:7'), 'fe80::1 7 eth0');
  assert.equal(endpoint('[::ffff:192.0.2.1]:007'), '192.0.2.1 7 -');
  for (const bad of [
    ...[
      '',
      '192.0.2.1',
      '192.0.2.1:',
      ':5',
      '192.0.2.1:65536',
      '192.0.2.256:1',
      '010.0.0.1:1',
      '[192.0.2.1]:1',
    ],
    ...['::1:7', '[::1]', '[::1]7', '[::g]:7', 'localhost:5', '192.0.2.1:5 ', '[fe80::1%]:7', '192.0.2.1:-5'],
  ])
    assert.equal(errnoOf(`endpoint=${bad}`), 22, bad);
});

test('allowed IPs are added, or removed with a minus sign', () => {
  const allowed = (text: string): string => {
    const line = parse(`allowed_ip=${text}`);
    assert.ok(line.key === 'allowed_ip');
    return `${line.remove ? 'remove ' : ''}${formatCidr(line.value)}`;
  };
  for (const text of ['10.0.0.7/24', '0.0.0.0/0', '255.255.255.255/32', 'fd00::1/64', '::/0']) {
    assert.equal(allowed(text), text);
    assert.equal(allowed(`-${text}`), `remove ${text}`);
  }
  for (const bad of [
    ...[
      '',
      '-',
      '--1.2.3.4/5',
      '10.0.0.1',
      '10.0.0.1/',
      '10.0.0.1/33',
      '10.0.0.1/08',
      '010.0.0.1/8',
      '10.0.0/8',
    ],
    ...[
      '10.0.0.0.0/8',
      '1000.0.0.0/8',
      '10.0.0.1/8 ',
      '10.0.0.1/-8',
      'fe80::1%lo/64',
      '::/129',
      '/8',
      '256.0.0.0/8',
    ],
  ])
    assert.equal(errnoOf(`allowed_ip=${bad}`), 22, bad);
});

test('the fast parser agrees with the slow one on every IPv4 network', () => {
  const part = fc.oneof(fc.nat(300).map(String), fc.constantFrom('', '00', '01', '-1', '1 '));
  fc.assert(
    fc.property(
      part.filter((text) => text !== '-1'), // a leading minus sign would remove the network
      part,
      part,
      part,
      fc.oneof(fc.nat(40).map(String), fc.constantFrom('', '08')),
      (a, b, c, d, p) => {
        const text = `${a}.${b}.${c}.${d}/${p}`;
        const valid =
          [a, b, c, d].every((n) => /^(0|[1-9]\d*)$/.test(n) && Number(n) < 256) &&
          /^(0|[1-9]\d?)$/.test(p) &&
          Number(p) <= 32;
        assert.equal(errnoOf(`allowed_ip=${text}`), valid ? 0 : 22, text);
        const line = valid ? parse(`allowed_ip=${text}`) : undefined;
        if (line?.key === 'allowed_ip') assert.equal(formatCidr(line.value), text);
      },
    ),
  );
});

test('a key of the other section, an unknown key and a missing key are refused', () => {
  assert.equal(errnoOf('listen_port=5', 'peer'), 22);
  assert.equal(errnoOf('allowed_ip=10.0.0.0/8', 'device'), 22);
  assert.equal(errnoOf('foo=1', 'device'), 22);
  assert.equal(errnoOf('=1', 'device'), 22);
  assert.equal(errnoOf('constructor=1', 'peer'), 22);
  assert.equal(errnoOf('foo', 'device'), 71);
  assert.equal(errnoOf('', 'peer'), 71);
});

test('a carriage return at the end of a line is ignored, as in Go', () => {
  assert.deepEqual(parse('listen_port=7\r', 'device'), { key: 'listen_port', value: 7 });
  assert.equal(errnoOf('listen_port=7\r\r', 'device'), 22);
});

test('garbage is refused with an errno, and messages contain no values', () => {
  const key = fc.constantFrom('private_key', 'preshared_key', 'endpoint', 'allowed_ip', 'fwmark', 'x');
  fc.assert(
    fc.property(
      fc.oneof(
        fc.uint8Array(),
        fc.tuple(key, fc.string()).map(([k, v]) => Buffer.from(`${k}=${v}`)),
      ),
      (bytes) => {
        for (const section of ['device', 'peer'] as const) {
          try {
            parseSetLine(Buffer.from(bytes), section);
          } catch (error) {
            assert.ok(error instanceof UapiError);
            assert.ok(error.errno === 22 || error.errno === 71);
          }
        }
      },
    ),
  );
  assert.throws(
    () => parse('private_key=5ec2e7', 'device'),
    (error: Error) => !error.message.includes('5ec2e7'),
  );
});

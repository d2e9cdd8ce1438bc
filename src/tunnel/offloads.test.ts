import assert from 'node:assert/strict';
import { test } from 'node:test';
import { describeOffloads, OFFLOADS, parseOffloads } from './offloads.js';

test('LAMETUN_OFFLOADS limits the offloads in use; all are used without it', () => {
  assert.deepEqual(parseOffloads(undefined), OFFLOADS);
  assert.deepEqual(parseOffloads(''), OFFLOADS);
  assert.deepEqual(parseOffloads('none'), []);
  assert.deepEqual(parseOffloads('evp, tun-tcp'), ['tun-tcp', 'evp']);
});

test('an unknown name in LAMETUN_OFFLOADS is an error', () => {
  for (const text of ['tun', 'none,send', 'send,', 'SEND']) {
    assert.throws(() => parseOffloads(text), { code: 'usage' }, text);
  }
});

test('one line describes the offloads in use', () => {
  const all = {
    tunTcp: true,
    tunUdp: true,
    send: true,
    receive: true,
    checksum: 'wasm-simd',
    aead: 'OpenSSL',
  };
  assert.equal(
    describeOffloads(all),
    'TUN TCP and UDP segments, UDP send segments, UDP receive bundles, checksum wasm-simd, AEAD OpenSSL',
  );
  assert.equal(
    describeOffloads({ ...all, tunUdp: false, send: false }),
    'TUN TCP segments, no UDP send segments, UDP receive bundles, checksum wasm-simd, AEAD OpenSSL',
  );
  assert.match(describeOffloads({ ...all, tunTcp: false, tunUdp: false }), /^no TUN segments, /);
});

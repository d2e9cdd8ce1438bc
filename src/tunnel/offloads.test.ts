import assert from 'node:assert/strict';
import { test } from 'node:test';
import { describeOffloads, OFFLOADS, parseOffloads } from './offloads.js';

test('LAMETUN_OFFLOADS limits what is used; without it everything is', () => {
  assert.deepEqual(parseOffloads(undefined), OFFLOADS);
  assert.deepEqual(parseOffloads(''), OFFLOADS);
  assert.deepEqual(parseOffloads('none'), []);
  assert.deepEqual(parseOffloads('evp, tun-tcp'), ['tun-tcp', 'evp']);
});

test('a name that LAMETUN_OFFLOADS does not know is an error, and not passed over', () => {
  for (const text of ['tun', 'none,send', 'send,', 'SEND']) {
    assert.throws(() => parseOffloads(text), { code: 'usage' }, text);
  }
});

test('what is in use is told in one line', () => {
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

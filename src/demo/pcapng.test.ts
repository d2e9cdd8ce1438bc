import assert from 'node:assert/strict';
import { test } from 'node:test';
import { enhancedPacket, interfaceDescription, LINK_TYPE, sectionHeader } from './pcapng.js';

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

test('a section header has its magic, version 1.0 and an unknown length', () => {
  assert.equal(
    hex(sectionHeader('test')),
    '0a0d0d0a' +
      '28000000' +
      '4d3c2b1a' +
      '01000000' +
      'ffffffffffffffff' + // type, length, magic, version
      '0400' +
      '0400' +
      '74657374' + // shb_userappl
      '00000000' +
      '28000000',
  );
});

test('an interface has its link type, name and nanoseconds', () => {
  assert.equal(
    hex(interfaceDescription({ name: 'lan', linkType: LINK_TYPE.raw })),
    '01000000' +
      '28000000' +
      '65000000' +
      '00000000' + // type, length, 101, no limit
      '0200' +
      '0300' +
      '6c616e00' + // if_name, padded
      '0900' +
      '0100' +
      '09000000' + // if_tsresol
      '00000000' +
      '28000000',
  );
});

test('a packet is padded to 32 bits, and its timestamp has two halves', () => {
  const bytes = Uint8Array.of(1, 2, 3, 4, 5);
  assert.equal(
    hex(enhancedPacket({ interface: 2, time: 0x1122334455667788n, bytes, outgoing: true })),
    '06000000' +
      '34000000' +
      '02000000' +
      '44332211' +
      '88776655' +
      '05000000' +
      '05000000' +
      '0102030405000000' +
      '0200' +
      '0400' +
      '02000000' + // epb_flags: outbound
      '00000000' +
      '34000000',
  );
});

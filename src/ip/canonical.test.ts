import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { formatAddress, parseAddress } from './address.js';
import { isCanonical } from './canonical.js';

const reference = (text: string, length: 4 | 16): boolean => {
  const address = parseAddress(text);
  return address?.length === length && formatAddress(address) === text;
};

/** Groups that are often zero, which makes runs of all lengths. */
const address = fc
  .array(fc.oneof(fc.constant(0), fc.constant(0xffff), fc.nat(0xffff), fc.nat(15)), {
    minLength: 8,
    maxLength: 8,
  })
  .map((groups) => Uint8Array.from(groups.flatMap((group) => [group >> 8, group & 0xff])));
const ipv6 = fc.oneof(
  address.map(formatAddress),
  address.map((bytes) =>
    Array.from({ length: 8 }, (_, i) => ((bytes[2 * i]! << 8) | bytes[2 * i + 1]!).toString(16)).join(':'),
  ),
  fc
    .array(fc.constantFrom('0', '00', '1', 'ff', 'FF', '', '::', ':', '1.2.3.4', 'fffff', 'g'), {
      maxLength: 9,
    })
    .map((p) => p.join(':')),
  fc.array(fc.constantFrom('0', '1', 'a', ':', '::', '.'), { maxLength: 20 }).map((parts) => parts.join('')),
);
const ipv4 = fc.oneof(
  fc.uint8Array({ minLength: 4, maxLength: 4 }).map((bytes) => bytes.join('.')),
  fc
    .array(fc.constantFrom('0', '1', '25', '255', '256', '00', '01', '', 'a', ' 1'), {
      minLength: 3,
      maxLength: 5,
    })
    .map((p) => p.join('.')),
);

test('the fast check agrees with the slow one', () => {
  let yes = 0;
  fc.assert(
    fc.property(
      fc.oneof(ipv4, ipv6, fc.string()),
      fc.constantFrom(4 as const, 16 as const),
      (text, length) => {
        assert.equal(isCanonical(text, length), reference(text, length), text);
        if (isCanonical(text, length)) yes++;
      },
    ),
    { numRuns: 5000 },
  );
  assert.ok(yes > 500, 'the inputs include addresses');
});

test('every formatted address is canonical', () => {
  fc.assert(
    fc.property(fc.oneof(address, fc.uint8Array({ minLength: 4, maxLength: 4 })), (bytes) => {
      const text = formatAddress(bytes);
      assert.equal(isCanonical(text, text.includes(':') ? 16 : 4), true, text);
    }),
  );
});

for (const text of ['::', '::1', 'fd00::', '1:0:1::', '2001:db8::1', '1::2:0:0:3:4', '1:0:2:3:4:5:6:7'])
  test(`the checks agree about ${text}`, () => assert.equal(isCanonical(text, 16), reference(text, 16)));

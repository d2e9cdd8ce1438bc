import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { LametunError } from '../errors.js';
import { formatAddress } from '../ip/address.js';
import { decodeBlocks, encodeBlocks, encodedLength } from './base58.js';
import { formatToken, type HubAddress, parseToken, type Token } from './token.js';

const label = fc.stringMatching(/^[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?$/);
const host = fc.oneof(
  fc.uint8Array({ minLength: 4, maxLength: 4 }).map(formatAddress),
  fc.uint8Array({ minLength: 16, maxLength: 16 }).map(formatAddress),
  fc
    .tuple(fc.array(label, { maxLength: 3 }), fc.constantFrom('example', 'org', 'localhost'))
    .map(([a, b]) => [...a, b].join('.')),
);
const address: fc.Arbitrary<HubAddress> = fc.record(
  { host, port: fc.oneof(fc.constant(443), fc.integer({ min: 1, max: 65_535 })), tls: fc.boolean() },
  { noNullPrototype: true },
);
const token: fc.Arbitrary<Token> = fc.record(
  {
    hub: fc.uint8Array({ minLength: 32, maxLength: 32 }),
    secret: fc.uint8Array({ minLength: 16, maxLength: 16 }),
    addresses: fc.array(address, { minLength: 1, maxLength: 8 }),
  },
  { noNullPrototype: true },
);
const example: Token = {
  hub: Uint8Array.from({ length: 32 }, (_, i) => i),
  secret: Uint8Array.from({ length: 16 }, (_, i) => 100 + i),
  addresses: [{ host: '203.0.113.5', port: 443, tls: false }],
};
const text = formatToken(example);

/** The error message for a text. */
function complaint(words: string): string {
  try {
    parseToken(words);
  } catch (error) {
    assert.ok(error instanceof LametunError && error.code === 'usage');
    return error.message;
  }
  assert.fail(`'${words}' was accepted as a token`);
}

test('a token survives line breaks and the text that people paste around it', () => {
  const space = fc.constantFrom(' ', '\n', '\r\n  ', '\t', '\u200b', '\ufeff');
  fc.assert(
    fc.property(token, fc.array(fc.tuple(fc.nat(300), space), { maxLength: 5 }), (made, breaks) => {
      let pasted = formatToken(made);
      for (const [at, between] of breaks) pasted = `${pasted.slice(0, at)}${between}${pasted.slice(at)}`;
      for (const variant of [pasted, ` ${pasted}\n`, `lametun join ${pasted}`, `'${pasted}'`])
        assert.deepEqual(parseToken(variant), made);
    }),
  );
});

test('a token is short, and has only letters and digits', () => {
  fc.assert(fc.property(token, (made) => assert.match(formatToken(made), /^lt1[1-9A-HJ-NP-Za-km-z]+$/)));
  assert.ok(text.length < 90, `${text.length}`);
});

test('an incomplete token says so, wherever it was cut', () => {
  for (let length = 0; length < text.length; length++) {
    const said = complaint(text.slice(0, length));
    assert.match(said, length < 2 ? /empty|not a token/ : /incomplete/, text.slice(0, length));
  }
  assert.match(complaint(text.slice(0, 40)), /^the token is incomplete: 40 of 85 characters/);
});

test('every mistyped character, and every swap of two, is detected', () => {
  for (let at = 0; at < text.length; at++) {
    for (const char of 'a7Z') {
      if (text[at] === char) continue;
      complaint(text.slice(0, at) + char + text.slice(at + 1));
    }
    const swapped = `${text.slice(0, at)}${text[at + 1] ?? ''}${text[at]}${text.slice(at + 2)}`;
    if (swapped !== text) complaint(swapped);
  }
  assert.match(complaint(`${text.slice(0, 50)}${text[50] === 'a' ? 'b' : 'a'}${text.slice(51)}`), /mistyped/);
  assert.match(
    complaint(text.replace(text[40]!, '0')),
    /^the token is mistyped at character \d+: tokens have letters and digits, but never 0, O, I or l;/,
  );
  assert.match(complaint(`${text}ab`), /extra text at its end/);
});

test('a token of a newer lametun asks for an update', () => {
  assert.match(complaint(`lt2${text.slice(3)}`), /made by a newer lametun \(format 2.*update/);
});

test('the error for other text says how a token begins', () => {
  for (const words of ['hello', '--help', 'wg0', 'http://example.org/'])
    assert.match(complaint(words), /begins with lt1/);
  assert.match(complaint(' \n'), /empty/);
});

test('errors never show the token', () => {
  fc.assert(
    fc.property(token, fc.nat(400), fc.constantFrom('', 'a', 'Z', '0', '_'), (made, at, put) => {
      const whole = formatToken(made);
      const wrong = whole.slice(0, at) + put + whole.slice(at + 1);
      try {
        parseToken(wrong);
      } catch (error) {
        const { message } = error as Error;
        for (let i = 3; i + 8 < whole.length; i += 4) assert.ok(!message.includes(whole.slice(i, i + 8)));
        return;
      }
      assert.equal(wrong, whole);
    }),
  );
});

test('garbage is refused with a message', () => {
  fc.assert(fc.property(fc.string({ maxLength: 200 }), (garbage) => void complaint(garbage)));
  fc.assert(
    fc.property(
      fc.stringMatching(/^[1-9A-HJ-NP-Za-km-z]{0,120}$/),
      (digits) => void complaint(`lt1${digits}`),
    ),
  );
});

test('a token cannot contain invalid hub addresses', () => {
  const wrong: Partial<HubAddress>[] = [
    { host: '' },
    { host: '10.0.0.256' },
    { host: '-x.example' },
    { host: 'a b' },
    { host: 'ex\u00e4mple.org' },
    { host: 'a'.repeat(64) },
    { host: '[::1]' },
    { port: 0 },
    { port: 65_536 },
    { port: 1.5 },
  ];
  for (const change of wrong) {
    const addresses = [{ ...example.addresses[0]!, ...change }];
    assert.throws(() => formatToken({ ...example, addresses }), { code: 'usage' }, JSON.stringify(change));
  }
  assert.throws(() => formatToken({ ...example, addresses: [] }), { code: 'usage' });
  const nine = Array.from({ length: 9 }, () => example.addresses[0]!);
  assert.throws(() => formatToken({ ...example, addresses: nine }), { code: 'usage' });
});

test('base-58 blocks and their prefixes survive a round trip', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 100 }), (bytes) => {
      const digits = encodeBlocks(bytes);
      assert.equal(digits.length, encodedLength(bytes.length));
      assert.deepEqual(decodeBlocks(digits), bytes);
      assert.deepEqual(decodeBlocks(digits.slice(0, 11)), bytes.slice(0, 8));
    }),
  );
  assert.equal(decodeBlocks('zzzzzzzzzzz'), undefined, 'more than eight bytes can hold');
  assert.equal(decodeBlocks('1'), undefined, 'one digit encodes no bytes');
});

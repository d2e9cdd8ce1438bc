import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { formatToken, type Token } from '../../protocol/token.js';
import { readToken } from './token-input.js';

const token: Token = {
  hub: new Uint8Array(32).fill(7),
  secret: new Uint8Array(16).fill(9),
  addresses: [{ host: '203.0.113.5', port: 443, tls: false }],
};

test('a token is read from the argument or a file, alone or as a whole command line', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'lametun-token-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const file = join(folder, 'token');
  const text = formatToken(token);
  assert.deepEqual(readToken(text, undefined), token);
  for (const content of [text, `  sudo lametun join ${text}\n`, `lametun join ${text}\r\n`]) {
    writeFileSync(file, content);
    assert.deepEqual(readToken(undefined, file), token);
  }
  assert.equal(readToken(undefined, undefined), undefined);
});

test('text that is not a token is refused without repeating it', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'lametun-token-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const file = join(folder, 'token');
  const text = formatToken(token);
  const mistyped = `${text.slice(0, 20)}${text[20] === 'a' ? 'b' : 'a'}${text.slice(21)}`;
  assert.throws(
    () => readToken(mistyped, undefined),
    (error: Error) => !error.message.includes(mistyped.slice(4, 40)),
  );
  writeFileSync(file, ' \n');
  assert.throws(() => readToken(undefined, file), /it is empty/);
  assert.throws(() => readToken(undefined, join(folder, 'none')), /cannot read/);
  assert.throws(() => readToken(text, file), /contradict each other: give one of them/);
});

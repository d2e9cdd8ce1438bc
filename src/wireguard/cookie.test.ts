import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FakeCrypto } from '../../tests/kit/fake-crypto.js';
import { SeededRandom } from '../../tests/kit/random.js';
import { COOKIE_LATENCY, COOKIE_LIFETIME } from './constants.js';
import { CookieChecker, CookieHolder } from './cookie.js';
import { INITIATION } from './messages.js';

const HOME = Uint8Array.of(192, 0, 2, 1, 0, 1);
const OTHER_PORT = Uint8Array.of(192, 0, 2, 1, 0, 2);

function setup() {
  const crypto = new FakeCrypto(new SeededRandom(3));
  const { bytes } = crypto.generate().publicKey;
  const checker = new CookieChecker(crypto, bytes);
  const holder = new CookieHolder(crypto, bytes);
  const message = (now: number): Uint8Array => {
    const bytes = new Uint8Array(INITIATION.length);
    crypto.random(bytes);
    holder.seal(bytes, now);
    return bytes;
  };
  return { crypto, checker, holder, message };
}

test('mac1 is valid only for its key and the whole message, [W] 5.4.4', () => {
  const { crypto, checker, message } = setup();
  const bytes = message(1000);
  assert.ok(checker.hasMac1(bytes));
  assert.ok(!new CookieChecker(crypto, crypto.generate().publicKey.bytes).hasMac1(bytes));
  for (const at of [0, 4, 60, 115, INITIATION.mac1]) {
    const changed = Uint8Array.from(bytes);
    changed[at]! ^= 1;
    assert.ok(!checker.hasMac1(changed), `byte ${at}`);
  }
});

test('without a cookie mac2 is zeros, and invalid', () => {
  const { checker, message } = setup();
  const bytes = message(1000);
  assert.deepEqual(bytes.subarray(INITIATION.mac2), new Uint8Array(16));
  assert.ok(!checker.hasMac2(bytes, HOME, 1000));
});

test('a cookie makes the next message valid, from the address and port that received it, [W] 5.4.7', () => {
  const { checker, holder, message } = setup();
  const reply = checker.reply(message(1000), 7, HOME, 1000);
  assert.ok(holder.open(reply, 1000));
  const bytes = message(2000);
  assert.ok(checker.hasMac1(bytes));
  assert.ok(checker.hasMac2(bytes, HOME, 2000));
  assert.ok(!checker.hasMac2(bytes, OTHER_PORT, 2000));
});

test('a cookie reply is accepted once, and only for the last message sent, [W] 5.4.7', () => {
  const { checker, holder, message } = setup();
  const first = message(1000);
  const reply = checker.reply(first, 7, HOME, 1000);
  message(1001);
  assert.ok(!holder.open(reply, 1002));
  const second = checker.reply(message(1003), 7, HOME, 1003);
  const forged = Uint8Array.from(second);
  forged[40]! ^= 1;
  assert.ok(!holder.open(forged, 1004));
  assert.ok(holder.open(second, 1004));
  assert.ok(!holder.open(second, 1005));
});

test('the secret changes every two minutes, and a cookie is used for less than that, [W] 5.3', () => {
  const { checker, holder, message } = setup();
  holder.open(checker.reply(message(1000), 7, HOME, 1000), 1000);
  assert.ok(checker.hasMac2(message(2000), HOME, 1000 + COOKIE_LIFETIME - 1));
  const bytes = message(2000);
  assert.ok(!checker.hasMac2(bytes, HOME, 1000 + COOKIE_LIFETIME));
  checker.reply(bytes, 7, HOME, 1000 + COOKIE_LIFETIME); // from now on a new secret
  assert.ok(!checker.hasMac2(bytes, HOME, 1000 + COOKIE_LIFETIME + 1));
  const late = message(1000 + COOKIE_LIFETIME - COOKIE_LATENCY);
  assert.deepEqual(late.subarray(INITIATION.mac2), new Uint8Array(16));
});

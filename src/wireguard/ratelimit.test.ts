import assert from 'node:assert/strict';
import { test } from 'node:test';
import { INITIATIONS_BURST, RateLimiter } from './ratelimit.js';

const ipv4 = (last: number, port = 1): Uint8Array => Uint8Array.of(192, 0, 2, last, 0, port);
const ipv6 = (network: number, host: number): Uint8Array =>
  Uint8Array.of(0x20, 1, 0xd, 0xb8, 0, 0, network >> 8, network & 0xff, 0, 0, 0, 0, 0, 0, 0, host, 0, 1);
const allowed = (limiter: RateLimiter, source: Uint8Array, times: number, now: number): number =>
  Array.from({ length: times }).filter(() => limiter.allows(source, now)).length;

test('a source gets a burst of 5, then 20 per second', () => {
  const limiter = new RateLimiter();
  assert.equal(allowed(limiter, ipv4(1), 100, 1000), 5);
  assert.equal(allowed(limiter, ipv4(1), 100, 1049), 0);
  assert.equal(allowed(limiter, ipv4(1), 100, 1051), 1);
  let count = 0;
  for (let now = 2000; now < 12_000; now++) count += allowed(limiter, ipv4(1), 1, now);
  assert.ok(count >= 200 && count <= 205, `${count}`);
});

test('sources are IPv4 addresses and IPv6 /64 networks, whatever the port', () => {
  const limiter = new RateLimiter();
  assert.equal(allowed(limiter, ipv4(1, 1), 10, 1000) + allowed(limiter, ipv4(1, 2), 10, 1000), 5);
  assert.equal(allowed(limiter, ipv4(2), 10, 1000), 5);
  assert.equal(allowed(limiter, ipv6(1, 1), 10, 1000) + allowed(limiter, ipv6(1, 2), 10, 1000), 5);
  assert.equal(allowed(limiter, ipv6(2, 1), 10, 1000), 5);
});

test('memory is bounded: with too many sources, new ones are refused until old ones are forgotten', () => {
  const limiter = new RateLimiter();
  for (let network = 0; network < 20_000; network++) limiter.allows(ipv6(network, 1), 1000);
  assert.ok(limiter.size <= 8192);
  assert.equal(limiter.allows(ipv4(1), 1010), false);
  assert.equal(limiter.allows(ipv4(1), 1300), true);
  assert.equal(limiter.size, 1);
});

test('each member behind a relay is a separate source', () => {
  const limiter = new RateLimiter();
  const at = (member: number): Uint8Array => Uint8Array.of(192, 0, 2, 1, 0, 1, 0, 0, 0, member);
  for (let i = 0; i < INITIATIONS_BURST; i++) assert.equal(limiter.allows(at(1), 1000), true);
  assert.equal(limiter.allows(at(1), 1000), false);
  assert.equal(limiter.allows(at(2), 1000), true);
});

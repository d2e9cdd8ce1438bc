import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PATIENCE, ServerChoice } from './server-choice.js';

test('the next address is tried 5 s after the first datagram was sent without a reply', () => {
  const choice = new ServerChoice(2);
  choice.sent(1000);
  choice.sent(4000);
  assert.equal(choice.due(1000 + PATIENCE - 1), false);
  assert.equal(choice.due(1000 + PATIENCE), true);
  assert.equal(choice.next(1000 + PATIENCE), 1);
  assert.equal(choice.due(60_000), false); // nothing was sent to this address yet
});

test('an idle tunnel keeps its address', () => {
  const choice = new ServerChoice(2);
  assert.equal(choice.due(1_000_000), false);
  choice.sent(0);
  choice.heard();
  assert.equal(choice.due(1_000_000), false);
});

test('an ICMP error makes the client try the next address at once, but not too often', () => {
  const choice = new ServerChoice(2);
  choice.failed();
  assert.equal(choice.due(0), true);
  assert.equal(choice.next(0), 1);
  choice.failed();
  assert.equal(choice.due(50), false);
  assert.equal(choice.due(100), true);
  assert.equal(choice.next(100), 0);
});

test('a datagram from the server clears the error', () => {
  const choice = new ServerChoice(2);
  choice.failed();
  choice.heard();
  assert.equal(choice.due(1000), false);
});

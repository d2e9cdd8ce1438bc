import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ACTIVITY, askForHandshake, noteReceived, noteSent, resetActivity } from './activity.js';
import { KEEPALIVE_TIMEOUT } from './constants.js';
import { type TimerName, Timers } from './timers.js';

const AT = 3;

function setup() {
  const row = new Float64Array(AT + ACTIVITY.words + 1).fill(-1);
  resetActivity(row, AT);
  const timers = new Timers(row, AT, () => 0);
  /** The control plane's work on a wake-up. */
  const wakeUp = (now: number): TimerName[] => {
    const expired: TimerName[] = [];
    for (let name = timers.expire(now); name; name = timers.expire(now)) expired.push(name);
    row[AT + ACTIVITY.wakeUpAt] = timers.nextTimeout();
    return expired;
  };
  return { row, timers, wakeUp };
}

test('only the first unanswered packet wakes the control plane', () => {
  const { row, wakeUp } = setup();
  assert.equal(noteReceived(row, AT, true, 1000), true);
  wakeUp(1000);
  for (let now = 1001; now < 1100; now++) assert.equal(noteReceived(row, AT, true, now), false);
  assert.deepEqual(wakeUp(1000 + KEEPALIVE_TIMEOUT), ['sendKeepalive']);
});

test('a busy conversation wakes the control plane at most once per KEEPALIVE_TIMEOUT', () => {
  const { row, wakeUp } = setup();
  let wakes = 0;
  for (let now = 1000; now < 61_000; now++) {
    if (now >= row[AT + ACTIVITY.wakeUpAt]!) assert.deepEqual(wakeUp(now), []);
    const woken = [noteSent(row, AT, true, now), noteReceived(row, AT, true, now + 0.5)].filter(
      Boolean,
    ).length;
    if (woken > 0) wakeUp(now + 0.6);
    wakes += woken;
  }
  assert.ok(wakes >= 1 && wakes <= 7, `${wakes}`);
});

test('keepalives need no answer and do not wake the control plane', () => {
  const { row } = setup();
  assert.equal(noteSent(row, AT, false, 1000), false);
  assert.equal(noteReceived(row, AT, false, 1000), false);
  assert.equal(row[AT + ACTIVITY.unansweredReceived], 0);
});

test('a handshake message answers earlier packets, but not later ones', () => {
  const { row, timers, wakeUp } = setup();
  noteReceived(row, AT, true, 1000);
  timers.on('responseSent', 2000);
  assert.equal(timers.nextTimeout(), Infinity);
  wakeUp(2000);
  assert.equal(noteReceived(row, AT, true, 3000), true);
  assert.equal(timers.nextTimeout(), 3000 + KEEPALIVE_TIMEOUT);
});

test('no handshake is requested before the control plane allows it', () => {
  const { row } = setup();
  row[AT + ACTIVITY.askAgainAt] = 6000;
  assert.equal(askForHandshake(row, AT, 5999), false);
  assert.equal(row[AT + ACTIVITY.asked], 0);
  assert.equal(askForHandshake(row, AT, 6000), true);
  assert.equal(row[AT + ACTIVITY.asked], 6000);
});

test('writes stay within a row', () => {
  const { row, timers } = setup();
  noteSent(row, AT, true, 1000);
  noteReceived(row, AT, true, 1000);
  timers.stop(2000);
  for (const outside of [0, 1, 2, AT + ACTIVITY.words]) assert.equal(row[outside], -1);
});

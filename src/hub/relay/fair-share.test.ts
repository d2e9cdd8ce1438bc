import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { costOf, FairShare, limitFrames, RateLimit } from './fair-share.js';
import { Thinning } from './thinning.js';

test('a sender may always send at its rate, plus a burst after a pause', () => {
  const limit = new RateLimit(2, 80e6); // 10 000 bytes a millisecond
  let sent = 0;
  const sendAll = (now: number): void => {
    limit.fill(1, now);
    while (limit.take(1, 1000)) sent += 1000;
  };
  sendAll(1000);
  const burst = sent;
  assert.equal(burst, 500_000);
  for (let now = 1000; now <= 2000; now += 0.25) sendAll(now);
  assert.ok(Math.abs(sent - burst - 10_000_000) <= 1000, `${sent - burst} bytes in a second`);
  sendAll(60_000);
  assert.ok(sent - burst - 10_000_000 <= burst + 1000);
  limit.fill(0, 60_000);
  assert.ok(limit.take(0, 1000), 'another sender has its own limit');
});

test('even a low rate allows a bundle', () => {
  const limit = new RateLimit(1, 8000);
  limit.fill(0, 5);
  assert.ok(limit.take(0, 65_535));
});

test('every frame counts, whatever its length', () => {
  const limit = limitFrames(1, 1_000);
  let sent = 0;
  for (let now = 1; now <= 1_001; now++) {
    limit.fill(0, now);
    while (limit.take(0, 1)) sent++;
  }
  assert.equal(sent, 50 + 1_000);
});

test('the unused shares of small senders go to the others', () => {
  const share = new FairShare(4, 4, new Thinning(4));
  const want = [10_000, 400_000, 50_000, 400_000];
  share.begin(1, 0.9);
  for (const [sender, bytes] of want.entries()) share.want(sender, bytes);
  share.settle(); // the budget is now the measured amount
  share.begin(2, 0.9);
  for (const [sender, bytes] of want.entries()) share.want(sender, bytes);
  share.settle();
  const got = want.map((bytes, sender) => {
    let sum = 0;
    for (; sum < bytes && share.may(sender, 1000); sum += 1000);
    return sum;
  });
  // 80 % of 860 000: the small senders get their 10 000 and 50 000, the others 314 000 each.
  assert.deepEqual(got, [10_000, 314_000, 50_000, 314_000]);
});

test('a sender’s use in one turn does not count in the next', () => {
  const share = new FairShare(1, 1, new Thinning(1));
  for (let now = 1; now < 100; now++) {
    share.begin(now, 0.9);
    share.want(0, 16_000);
    share.settle();
    assert.ok(share.may(0, 16_000), `turn ${now}`);
  }
});

test('the limits end after the queue has had room for some time', () => {
  const share = new FairShare(1, 1, new Thinning(1));
  share.begin(0, 0.6);
  assert.equal(share.limiting, true);
  share.begin(30, 0.4);
  assert.equal(share.limiting, true);
  share.begin(60, 0);
  assert.equal(share.limiting, false);
});

/** The relay's loop on a virtual clock: the costs of receiving and of forwarding a frame, milliseconds. */
const QUEUE = 8000;
const BATCH = 64;
const TAKE = 0.0008; // ms
const FORWARD = 0.0025;
const FRAME = 500;

/** @param rates each sender's frames per millisecond @returns the fraction of them that was forwarded */
function simulate(rates: readonly number[], fair: boolean, milliseconds = 2000): readonly number[] {
  const share = new FairShare(rates.length, BATCH, new Thinning(rates.length));
  const due = rates.map(() => 0);
  const sent = rates.map(() => 0);
  const forwarded = rates.map(() => 0);
  const queue: number[] = [];
  let read = 0;
  let before = 0;
  for (let now = 0; now < milliseconds; ) {
    // The frames since the last turn, interleaved.
    for (let step = 0; step < 16; step++) {
      for (const [sender, rate] of rates.entries()) {
        due[sender]! += (rate * (now - before)) / 16;
        for (; due[sender]! >= 1; due[sender]!--) {
          sent[sender]!++;
          if (queue.length - read < QUEUE) queue.push(sender);
        }
      }
    }
    before = now;
    const batch = queue.slice(read, read + BATCH);
    read += batch.length;
    if (read > 100_000) {
      queue.splice(0, read);
      read = 0;
    }
    share.begin(now, fair && batch.length === BATCH ? (queue.length - read) / QUEUE : 0);
    if (share.limiting) {
      for (const sender of batch) share.want(sender, FRAME);
      share.settle();
    }
    now += Math.max(0.01, batch.length * TAKE);
    for (const sender of batch) {
      if (share.limiting && !share.may(sender, FRAME)) continue;
      forwarded[sender]!++;
      now += FORWARD;
    }
  }
  return rates.map((_, sender) => forwarded[sender]! / sent[sender]!);
}

test('while one sender floods, small senders lose nothing', () => {
  // At most 300 frames per millisecond can be received and forwarded.
  const rates = [800, 5, 20, 1];
  const [flooder, ...others] = simulate(rates, true);
  assert.ok(Math.min(...others) > 0.99, `${others}`);
  // The flooder gets much of the time that is left after receiving all 826.
  assert.ok(flooder! * 800 > 0.5 * ((1 - 826 * TAKE) / FORWARD - 26), `${flooder}`);
  // Control: without limits small senders lose most frames.
  assert.ok(Math.max(...simulate(rates, false).slice(1)) < 0.5);
});

test('two flooding senders get equal shares at any rate', () => {
  const rates = [500, 250, 10];
  const [hard, less, little] = simulate(rates, true);
  assert.ok(little! > 0.99, `${little}`);
  const ratio = (hard! * 500) / (less! * 250);
  assert.ok(ratio > 0.8 && ratio < 1.3, `${ratio}`);
});

test('senders that do not overload the relay are not limited', () => {
  assert.deepEqual(
    simulate([150, 100], true).map((part) => part > 0.999),
    [true, true],
  );
});

test('every datagram has a cost, even an empty one', () => {
  assert.ok(costOf(0, 0) > 0);
  assert.equal(costOf(3000, 1000), 3 * costOf(1000, 1000));
  fc.assert(
    fc.property(fc.nat(65_535), fc.nat(65_535), (length, segmentSize) => {
      const cost = costOf(length, segmentSize);
      assert.ok(cost > 0 && Number.isFinite(cost), `${cost}`);
    }),
  );
});

const SENDERS = 4;

const FRAME_BYTES = 100;

/** How much a sender may send in a turn, in frames of one size. */
function grant(share: FairShare, sender: number, most: number): number {
  let bytes = 0;
  while (bytes < most && share.may(sender, FRAME_BYTES)) bytes += FRAME_BYTES;
  return bytes;
}

test('no sender gets more than the budget, and invalid amounts change nothing', () => {
  const sender = fc.nat(SENDERS - 1);
  const wants = fc.array(fc.tuple(sender, fc.integer({ min: 1, max: 100_000 })), {
    minLength: 1,
    maxLength: 20,
  });
  const nonsense = fc.tuple(
    sender,
    fc.constantFrom(Number.NaN, 0, -0, -1, -1e9, Infinity, -Infinity, Number.MAX_VALUE),
  );
  const turn = fc.record({ wants, nonsense: fc.array(nonsense), fill: fc.constantFrom(0.2, 0.6, 0.9, 1) });
  fc.assert(
    fc.property(fc.array(turn, { minLength: 1, maxLength: 30 }), (turns) => {
      const make = (): FairShare => new FairShare(SENDERS, SENDERS, new Thinning(SENDERS));
      const [share, poisoned] = [make(), make()];
      for (const [now, { wants, nonsense, fill }] of turns.entries()) {
        for (const each of [share, poisoned]) each.begin(now, fill);
        for (const [who, bytes] of wants) for (const each of [share, poisoned]) each.want(who, bytes);
        for (const [who, bytes] of nonsense) poisoned.want(who, bytes);
        for (const each of [share, poisoned]) each.settle();
        if (!share.limiting) continue; // without limits there is nothing to ask
        let granted = 0;
        for (let who = 0; who < SENDERS; who++) {
          const wanted = wants.reduce((sum, [one, bytes]) => sum + (one === who ? bytes : 0), 0);
          const got = grant(share, who, wanted);
          assert.equal(grant(poisoned, who, wanted), got, `sender ${who} in turn ${now}`);
          granted += Math.max(0, got - 2 * FRAME_BYTES); // the first frame always passes, and the last may exceed the rest of the budget
        }
        assert.ok(share.budget >= 0 && granted <= share.budget, `${granted} of ${share.budget}`);
      }
    }),
  );
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { REPLAY, replayAccept, replayReset, replayWouldRefuse } from './replay.js';

/** The reference: remembers every counter. */
class NaiveWindow {
  readonly #seen = new Set<number>();
  #newest = 0;

  accept(counter: number): boolean {
    if (counter >= 2 ** 53 || this.#newest - counter > REPLAY.window || this.#seen.has(counter)) return false;
    this.#seen.add(counter);
    this.#newest = Math.max(this.#newest, counter);
    return true;
  }
}

const steps = fc.array(
  fc.oneof(
    { weight: 6, arbitrary: fc.integer({ min: -80, max: 80 }) },
    { weight: 3, arbitrary: fc.integer({ min: -9000, max: 9000 }) },
    { weight: 1, arbitrary: fc.integer({ min: -100_000, max: 100_000 }) },
  ),
  { maxLength: 300 },
);

for (const [name, start] of [
  ['0', 0],
  ['2^32', 2 ** 32 - 100],
  ['2^53', 2 ** 53 - 20_000],
] as const) {
  test(`the window agrees with the reference, near ${name}`, () => {
    fc.assert(
      fc.property(steps, (walk) => {
        const words = new Uint32Array(REPLAY.words + 6).fill(0xffffffff);
        replayReset(words, 3);
        const naive = new NaiveWindow();
        let counter = start;
        assert.equal(replayAccept(words, 3, counter), naive.accept(counter));
        for (const step of walk) {
          counter = Math.max(0, counter + step);
          const expected = naive.accept(counter);
          assert.equal(replayWouldRefuse(words, 3, counter), !expected);
          assert.equal(replayAccept(words, 3, counter), expected);
        }
        for (const guard of [0, 1, 2, REPLAY.words + 3]) assert.equal(words[guard], 0xffffffff);
      }),
      { numRuns: 300, seed: 5 },
    );
  });
}

test('a counter may lag by exactly the window size, which is 8128 as in wireguard-go', () => {
  const words = new Uint32Array(REPLAY.words);
  assert.ok(replayAccept(words, 0, 20_000));
  assert.equal(replayAccept(words, 0, 20_000 - 8129), false);
  assert.equal(replayAccept(words, 0, 20_000 - 8128), true);
  assert.equal(replayAccept(words, 0, 20_000 - 8128), false);
});

test('counters from 2^53 are refused, and change nothing', () => {
  const words = new Uint32Array(REPLAY.words);
  assert.equal(replayAccept(words, 0, 2 ** 53), false);
  assert.equal(replayAccept(words, 0, 2 ** 64), false);
  assert.deepEqual(words, new Uint32Array(REPLAY.words));
  assert.equal(replayAccept(words, 0, 2 ** 53 - 1), true);
});

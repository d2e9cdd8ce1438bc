import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { SeededRandom } from '../../../tests/kit/random.js';
import { Twins } from './twins.js';

/** A node's place at the hub, and processes that want it. */
class Place {
  readonly twins = new Twins();
  now = 0;
  holder: string | undefined;
  readonly #turns = new Map<string, number>();

  /** @returns whether the process has the place now */
  come(run: string, { at = run, seconds = 1, turn = (this.#turns.get(run) ?? 0) + 1 } = {}): boolean {
    this.now += seconds * 1000;
    this.#turns.set(run, turn);
    const as = { run, turn, address: `at ${at}` };
    const first = this.twins.arrive(1, as, this.holder !== undefined, this.now);
    if (first === undefined) this.holder = run;
    return first === undefined;
  }

  /** Comes, and is cut off at once where it succeeds. */
  comes(...runs: readonly string[]): boolean[] {
    return runs.map((run) => this.come(run));
  }

  get seen(): readonly string[] | undefined {
    return this.twins.of(1, this.now);
  }
}

test('two machines with one key are detected within four connections, and the first stays', () => {
  const place = new Place();
  assert.deepEqual(place.comes('a', 'b', 'a', 'b'), [true, true, true, false]);
  assert.deepEqual(place.seen, ['at a', 'at b']);
  assert.equal(place.come('b', { seconds: 300 }), false);
  assert.equal(place.come('a', { seconds: 60 }), true, 'who has the place may reconnect');
  assert.equal(place.come('b', { seconds: 300 }), false);
  place.holder = undefined;
  assert.equal(place.come('b', { seconds: 60 }), true, 'a place that is free is given to either');
  assert.equal(place.come('a', { seconds: 60 }), false);
  assert.deepEqual(place.seen, ['at b', 'at a']);
});

test('a machine that is no longer heard of is forgotten after 15 minutes', () => {
  const place = new Place();
  place.comes('a', 'b', 'a', 'b');
  place.now += 15 * 60_000;
  assert.equal(place.seen, undefined);
  assert.equal(place.come('restarted'), true);
});

test('one machine that roams, flaps between networks and restarts is never taken for two', () => {
  fc.assert(
    fc.property(fc.integer(), (seed) => {
      const random = new SeededRandom(seed);
      const place = new Place();
      let run = 0;
      for (let i = 0; i < 100; i++) {
        if (random.fraction() < 0.3) run++;
        if (random.fraction() < 0.3) place.holder = undefined;
        const at = `network ${Math.floor(random.fraction() * 3)}`;
        assert.ok(place.come(`run ${run}`, { at, seconds: random.fraction() * 5 }));
        assert.equal(place.seen, undefined);
      }
    }),
  );
});

test('copies of a running process are recognised by their turns, which do not grow', () => {
  const place = new Place();
  place.come('a', { turn: 7 });
  assert.equal(place.come('a', { at: 'b', turn: 8 }), true, 'it may have moved');
  const told = [8, 9, 9, 10, 10].map((turn, i) => place.come('a', { at: i % 2 === 0 ? 'a' : 'b', turn }));
  assert.ok(told.includes(false));
  assert.ok(place.seen);
});

test('a removed machine is forgotten', () => {
  const place = new Place();
  place.comes('a', 'b', 'a', 'b');
  place.twins.delete(1);
  assert.equal(place.seen, undefined);
});

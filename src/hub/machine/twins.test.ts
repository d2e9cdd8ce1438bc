import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { SeededRandom } from '../../../tests/kit/random.js';
import { Twins } from './twins.js';

/** A node's connection to the hub, and processes that compete for it. */
class Place {
  readonly twins = new Twins();
  now = 0;
  holder: string | undefined;
  readonly #turns = new Map<string, number>();

  /** A process connects. @returns whether the hub accepts it */
  connect(run: string, { at = run, seconds = 1, turn = (this.#turns.get(run) ?? 0) + 1 } = {}): boolean {
    this.now += seconds * 1000;
    this.#turns.set(run, turn);
    const as = { run, turn, address: `at ${at}` };
    const first = this.twins.arrive(1, as, this.holder !== undefined, this.now);
    if (first === undefined) this.holder = run;
    return first === undefined;
  }

  /** Processes connect one after the other. @returns which ones the hub accepts */
  connectAll(...runs: readonly string[]): boolean[] {
    return runs.map((run) => this.connect(run));
  }

  get seen(): readonly string[] | undefined {
    return this.twins.of(1, this.now);
  }
}

test('two machines with one key are detected within four connections, and the first stays', () => {
  const place = new Place();
  assert.deepEqual(place.connectAll('a', 'b', 'a', 'b'), [true, true, true, false]);
  assert.deepEqual(place.seen, ['at a', 'at b']);
  assert.equal(place.connect('b', { seconds: 300 }), false);
  assert.equal(place.connect('a', { seconds: 60 }), true, 'the connected process may reconnect');
  assert.equal(place.connect('b', { seconds: 300 }), false);
  place.holder = undefined;
  assert.equal(place.connect('b', { seconds: 60 }), true, 'without a connection, either process is accepted');
  assert.equal(place.connect('a', { seconds: 60 }), false);
  assert.deepEqual(place.seen, ['at b', 'at a']);
});

test('a machine that no longer connects is forgotten after 15 minutes', () => {
  const place = new Place();
  place.connectAll('a', 'b', 'a', 'b');
  place.now += 15 * 60_000;
  assert.equal(place.seen, undefined);
  assert.equal(place.connect('restarted'), true);
});

test('a machine that roams, flaps between networks and restarts is not mistaken for two', () => {
  fc.assert(
    fc.property(fc.integer(), (seed) => {
      const random = new SeededRandom(seed);
      const place = new Place();
      let run = 0;
      for (let i = 0; i < 100; i++) {
        if (random.fraction() < 0.3) run++;
        if (random.fraction() < 0.3) place.holder = undefined;
        const at = `network ${Math.floor(random.fraction() * 3)}`;
        assert.ok(place.connect(`run ${run}`, { at, seconds: random.fraction() * 5 }));
        assert.equal(place.seen, undefined);
      }
    }),
  );
});

test('copies of a running process are detected by turns that do not grow', () => {
  const place = new Place();
  place.connect('a', { turn: 7 });
  assert.equal(place.connect('a', { at: 'b', turn: 8 }), true, 'the machine may have moved');
  const accepted = [8, 9, 9, 10, 10].map((turn, i) =>
    place.connect('a', { at: i % 2 === 0 ? 'a' : 'b', turn }),
  );
  assert.ok(accepted.includes(false));
  assert.ok(place.seen);
});

test('a removed machine is forgotten', () => {
  const place = new Place();
  place.connectAll('a', 'b', 'a', 'b');
  place.twins.delete(1);
  assert.equal(place.seen, undefined);
});

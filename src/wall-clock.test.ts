import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { moved, WallClock } from './wall-clock.js';

const TODAY = Date.UTC(2026, 10, 30);
const MINUTE = 60_000;

/** A machine that booted some time ago, with a clock that starts in 1970. */
function machine(uptime = 10 * MINUTE) {
  const it = { wall: uptime, steady: uptime };
  const pass = (milliseconds: number): void => {
    it.wall += milliseconds;
    it.steady += milliseconds;
  };
  return {
    it,
    pass,
    clock: new WallClock(
      () => it.wall,
      () => it.steady,
    ),
  };
}

test('after the clock is set, old time continues until stored times are moved', () => {
  const { it, pass, clock } = machine();
  const stamp = clock.now();
  pass(MINUTE);
  assert.equal(clock.step(), undefined, 'passing time is no step');
  it.wall = TODAY;
  assert.equal(clock.now(), stamp + MINUTE);
  const step = clock.step()!;
  assert.deepEqual(step, { from: 0, to: 11 * MINUTE, by: TODAY - 11 * MINUTE });
  clock.adopt(step);
  assert.equal(clock.now(), TODAY);
  assert.equal(clock.now() - moved(stamp, step), MINUTE, 'the age is unchanged');
  const ofAnotherBoot = TODAY - 86_400_000;
  assert.equal(moved(ofAnotherBoot, step), ofAnotherBoot);
  assert.equal(clock.step(), undefined);
});

test('a timestamp made just before the clock was set back a little is still shifted with the next step', () => {
  const { it, clock } = machine();
  const stamp = clock.now();
  it.wall -= 1;
  assert.equal(clock.step(), undefined);
  it.wall += 15_000;
  assert.equal(moved(stamp, clock.step()!), stamp + 15_000);
});

test('ages stay correct however often the clock is set', () => {
  const events = fc.array(
    fc.oneof(
      fc.record({ pass: fc.integer({ min: 0, max: 100 * MINUTE }) }),
      fc.record({ set: fc.integer({ min: 0, max: 2 * TODAY }) }),
    ),
  );
  fc.assert(
    fc.property(events, (list) => {
      const { it, pass, clock } = machine();
      let stamp = clock.now();
      let age = 0;
      for (const event of list) {
        if ('set' in event) it.wall = event.set;
        else {
          pass(event.pass);
          age += event.pass;
        }
        const step = clock.step();
        if (step === undefined) continue;
        stamp = moved(stamp, step);
        clock.adopt(step);
      }
      // Each time, less than the smallest step may be lost.
      assert.ok(Math.abs(clock.now() - stamp - age) <= 5_000 * list.length, `${clock.now() - stamp} ${age}`);
      assert.ok(Math.abs(clock.now() - it.wall) < 5_000);
    }),
  );
});

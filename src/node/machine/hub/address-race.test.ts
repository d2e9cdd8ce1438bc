import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AddressRace, interleave } from './address-race.js';

/** Everything that is started from `now` on, with its time, when nobody says anything. */
function run(race: AddressRace<string>, now: number): [number, string][] {
  const started: [number, string][] = [];
  for (let at = now; at < now + 60_000; at = Math.max(at + 1, Math.min(race.nextTimeout(), now + 60_000))) {
    for (let next = race.start(at); next !== undefined; next = race.start(at)) started.push([at, next]);
  }
  return started;
}

test('one address after the other is tried, a moment apart', () => {
  const race = new AddressRace<string>();
  race.add('a', 'b', 'c');
  assert.deepEqual(run(race, 0), [
    [0, 'a'],
    [250, 'b'],
    [500, 'c'],
  ]);
  assert.equal(race.nextTimeout(), Infinity);
});

test('one that fails makes room for the next at once, and the last one ends the race', () => {
  const race = new AddressRace<string>();
  race.add('a', 'b');
  assert.equal(race.start(0), 'a');
  race.failed();
  assert.equal(race.isLost, false);
  assert.equal(race.start(1), 'b');
  race.failed();
  assert.equal(race.isLost, true);
});

test('where somebody answers, the others wait for longer', () => {
  const race = new AddressRace<string>();
  race.add('a', 'b');
  assert.equal(race.start(0), 'a');
  race.answered(100);
  assert.deepEqual(run(race, 100), [[1600, 'b']]);
});

test('an address that is found late enters the race', () => {
  const race = new AddressRace<string>();
  race.add('a');
  assert.equal(race.start(0), 'a');
  race.add('late');
  assert.deepEqual(run(race, 1000), [[1000, 'late']]);
});

test('families take turns', () => {
  const isIpv6 = (candidate: string) => candidate.startsWith('6');
  assert.deepEqual(interleave(['4a', '4b', '4c', '6a'], isIpv6), ['4a', '6a', '4b', '4c']);
  assert.deepEqual(interleave(['6a', '4a', '4b', '6b', '4c'], isIpv6), ['6a', '4a', '6b', '4b', '4c']);
  assert.deepEqual(interleave([], isIpv6), []);
});

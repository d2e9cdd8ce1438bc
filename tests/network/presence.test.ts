import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Presence } from '../../src/hub/machine/presence.js';
import { type PresenceMessage, Presence as View } from '../../src/node/machine/presence.js';
import { decodeJson } from '../../src/protocol/text.js';
import { VirtualScheduler } from '../kit/virtual/scheduler.js';

/** A member that receives the presence of the others from the hub. */
class Listener {
  readonly view = new View();
  readonly heardAt: number[] = [];
  readonly #clock: VirtualScheduler;
  last: PresenceMessage | undefined;
  constructor(clock: VirtualScheduler) {
    this.#clock = clock;
  }
  sendEncoded(message: Uint8Array, done: () => void): void {
    this.last = decodeJson(message) as PresenceMessage;
    this.view.apply(this.last, this.#clock.time);
    this.heardAt.push(this.#clock.time);
    done();
  }
}

const started = (...members: number[]) => {
  const clock = new VirtualScheduler();
  const presence = new Presence(members, clock);
  const arrive = (id: number): Listener => {
    const listener = new Listener(clock);
    presence.arrive(id, listener);
    return listener;
  };
  return { clock, presence, arrive };
};

test('a member learns who is offline, and for how long', () => {
  const { clock, presence, arrive } = started(1, 2, 3);
  const office = arrive(1);
  const laptop = arrive(2);
  clock.run(5_000);
  assert.equal(office.view.absence(2, clock.time), undefined, 'online');
  assert.deepEqual(
    office.view.absence(3, clock.time),
    { ago: undefined },
    'offline since before the hub started',
  );
  assert.equal(office.view.absence(4, clock.time), undefined, 'unknown');
  presence.leave(2, laptop);
  clock.run(65_000);
  assert.deepEqual(office.view.absence(2, clock.time), { ago: 60_000 });
  assert.equal(presence.awayFor(2), 60_000);
  const late = arrive(3);
  clock.run(95_000);
  assert.deepEqual(
    late.view.absence(2, clock.time),
    { ago: 90_000 },
    'a member that connects later learns the same',
  );
  assert.equal(office.view.absence(3, clock.time), undefined);
  arrive(2);
  clock.run(96_000);
  assert.equal(office.view.absence(2, clock.time), undefined, 'online again');
});

test('a message contains only changes, and no removed member', () => {
  const { clock, presence, arrive } = started(1, 2, 3, 4);
  const office = arrive(1);
  const laptop = arrive(2);
  clock.run(5_000);
  presence.leave(2, laptop);
  presence.forget(3);
  clock.run(10_000);
  assert.deepEqual(office.last, { type: 'presence', online: [], offline: [{ id: 2, ago: 0 }] });
  assert.deepEqual(arrive(4).last, undefined);
});

test('presence changes are sent in rounds whose interval grows with the network', () => {
  const ids = Array.from({ length: 2_000 }, (_, i) => i + 1);
  const { clock, presence, arrive } = started(...ids);
  const all = ids.map(arrive);
  clock.run(60_000);
  const before = all.reduce((sum, { heardAt }) => sum + heardAt.length, 0);
  for (let second = 0; second < 60; second++) {
    presence.leave(second + 1, all[second]!);
    clock.run(61_000 + second * 1_000);
  }
  const received = all.reduce((sum, { heardAt }) => sum + heardAt.length, 0) - before;
  assert.ok(received <= 500 * 60 + 2 * 2_000, `${received} messages in a minute`);
  clock.run(200_000);
  for (const gone of [1, 30, 60]) assert.ok(all[1_999]!.view.absence(gone, clock.time));
});

test('a hub that names more nodes than a network can have does not fill the memory', () => {
  const view = new View();
  const names = (from: number) => Array.from({ length: 40_000 }, (_, i) => ({ id: from + i }));
  view.apply({ type: 'presence', online: [], offline: names(1) }, 0);
  view.apply({ type: 'presence', online: [], offline: names(100_000) }, 0);
  assert.deepEqual(view.absence(1, 0), { ago: undefined });
  assert.equal(view.absence(139_999, 0), undefined);
});

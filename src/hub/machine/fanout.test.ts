import assert from 'node:assert/strict';
import { test } from 'node:test';
import { VirtualScheduler } from '../../../tests/kit/virtual/scheduler.js';
import { Fanout, type Follower } from './fanout.js';

const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);
const bytes = (content: string): Uint8Array => new TextEncoder().encode(content);

class TestFollower implements Follower {
  readonly received: string[] = [];
  dones: (() => void)[] = [];
  readonly #takes: boolean;
  constructor(takes = true) {
    this.#takes = takes;
  }
  sendEncoded(message: Uint8Array, done: () => void): void {
    this.received.push(text(message.subarray(0, 20)).replaceAll('\0', ''));
    if (this.#takes) done();
    else this.dones.push(done);
  }
}

function scene(mapLength = 5) {
  const source = {
    version: { epoch: 'e', revision: 1 },
    map: () => {
      const map = new Uint8Array(Math.max(mapLength, 5));
      map.set(bytes(`map ${source.version.revision}`));
      return map;
    },
    since: (revision: number) => bytes(`${revision} to ${source.version.revision}`),
  };
  const clock = new VirtualScheduler();
  const fanout = new Fanout(source, clock);
  const change = (): void => {
    source.version = { epoch: 'e', revision: source.version.revision + 1 };
    fanout.changed();
  };
  return { source, clock, fanout, change };
}

test('a node that attaches gets the map, or the changes since its own map', () => {
  const { clock, fanout } = scene();
  const [fresh, returning] = [new TestFollower(), new TestFollower()];
  fanout.add(fresh);
  fanout.add(returning, 1);
  clock.run();
  assert.deepEqual([fresh.received, returning.received], [['map 1'], ['1 to 1']]);
});

test('every change reaches every node, and changes in quick succession are sent together', () => {
  const { clock, fanout, change } = scene();
  const followers = Array.from({ length: 10 }, () => new TestFollower());
  for (const follower of followers) fanout.add(follower);
  clock.run(100);
  change();
  clock.run(100);
  change();
  change();
  change();
  clock.run(200);
  for (const { received } of followers) assert.deepEqual(received, ['map 1', '1 to 2', '2 to 5']);
});

test('a slow reader has one message in flight, then gets all missed changes in one message', () => {
  const { clock, fanout, change } = scene();
  const slow = new TestFollower(false);
  const quick = new TestFollower();
  fanout.add(slow);
  fanout.add(quick);
  clock.run(100);
  for (let i = 0; i < 5; i++) {
    change();
    clock.run(clock.time + 100);
  }
  assert.deepEqual(slow.received, ['map 1']);
  assert.equal(quick.received.length, 6);
  slow.dones.shift()!();
  clock.run(clock.time + 100);
  assert.deepEqual(slow.received, ['map 1', '1 to 6']);
});

test('large maps are built only as fast as they are read, and do not delay small deltas', () => {
  const { clock, fanout, change } = scene(1 << 20);
  const slow = Array.from({ length: 100 }, () => new TestFollower(false));
  const quick = new TestFollower();
  fanout.add(quick, 1);
  for (const follower of slow) fanout.add(follower);
  clock.run(100);
  const begun = (): number => slow.filter(({ received }) => received.length > 0).length;
  assert.ok(begun() >= 30 && begun() < 40, `${begun()} MiB under way`);
  change();
  clock.run(200);
  assert.deepEqual(quick.received, ['1 to 1', '1 to 2'], 'not delayed by the waiting maps');
  for (let i = 0; i < 100; i++) {
    for (const follower of slow) for (const done of follower.dones.splice(0)) done();
    clock.run(clock.time + 100);
  }
  assert.equal(begun(), 100);
  for (const { received } of slow) assert.ok(received.at(-1) === '1 to 2' || received.at(-1) === 'map 2');
});

test('a client that left gets nothing more', () => {
  const { clock, fanout, change } = scene();
  const gone = new TestFollower(false);
  fanout.add(gone);
  clock.run(100);
  fanout.delete(gone);
  change();
  gone.dones.shift()!();
  clock.run(1_000);
  assert.deepEqual(gone.received, ['map 1']);
});

test('a long round yields to other events, and later rounds are less frequent', () => {
  const { clock, fanout, change, source } = scene();
  const order: string[] = [];
  const costly = (name: string): Follower => ({
    sendEncoded: (_, done) => {
      clock.time += 5; // milliseconds of work
      order.push(name);
      done();
    },
  });
  for (let i = 0; i < 6; i++) fanout.add(costly(`${i}`), source.version.revision);
  clock.soon(() => order.push('other'));
  clock.run(100);
  assert.ok(order.indexOf('other') < 5, order.join(' '));
  order.length = 0;
  change();
  clock.run(clock.time + 1);
  const first = clock.time;
  clock.run(first + 500);
  change();
  const before = order.length;
  assert.equal(before, 6);
});

test('changes during a round are sent together in the next round', () => {
  const { clock, fanout, change } = scene();
  let sent = 0;
  const followers = Array.from({ length: 40 }, (): Follower & { last: string } => ({
    last: '',
    sendEncoded(message, done) {
      clock.time += 2; // milliseconds of work: a round takes 80
      sent++;
      this.last = text(message);
      done();
    },
  }));
  for (const follower of followers) fanout.add(follower, 1);
  clock.run(1_000);
  sent = 0;
  for (let i = 0; i < 100; i++) {
    change();
    clock.run(clock.time + 10);
  }
  const took = clock.time - 1_000;
  assert.ok(sent < took / 2 / 2 + 80, `${sent} messages in ${took} ms: half of the time is for others`);
  clock.run(clock.time + 1_000);
  assert.ok(followers.every(({ last }) => last.endsWith('to 101')));
});

test('a node that attaches while changes are held back does not wait', () => {
  const { clock, fanout, change } = scene();
  const slow: Follower = {
    sendEncoded: (_, done) => {
      clock.time += 200;
      done();
    },
  };
  fanout.add(slow, 1);
  clock.run(1_000);
  change();
  clock.run(1_300); // the round took until 1 200, and the pause lasts until 1 400
  change();
  const fresh = new TestFollower();
  fanout.add(fresh);
  clock.run(1_310);
  assert.deepEqual(fresh.received, ['map 3']);
});

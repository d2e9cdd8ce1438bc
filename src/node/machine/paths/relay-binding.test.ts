import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FakeCrypto } from '../../../../tests/kit/fake-crypto.js';
import { SeededRandom } from '../../../../tests/kit/random.js';
import { formatAddress, parseAddress, toIpv6 } from '../../../ip/address.js';
import { BIND_INTERVAL, decodeControl, encodeControl, RELAY_KIND } from '../../../protocol/relay.js';
import { RelayBinding } from './relay-binding.js';

const crypto = new FakeCrypto(new SeededRandom(1));
const session = Uint8Array.from({ length: 8 }, (_, i) => i);
const key = new Uint8Array(32).fill(5);
/** Of the longest frame, bytes. */
const FULL = 1_320;
const COOKIE = Uint8Array.of(9, 9, 9, 9, 9, 9);

/** A relay 10 ms away that challenges new addresses, and the binding's events with their times. */
class World {
  now = 1_000;
  passes = true;
  /** The longest datagram that the path carries, in both directions; longer ones are lost silently. */
  carries = Infinity;
  seen = '198.51.100.1';
  readonly told: { readonly what: string; readonly at: number }[] = [];
  readonly binds: number[] = [];
  readonly binding = new RelayBinding(crypto, { session, key }, FULL, this.now);
  #known = '';
  #sequence = 0;
  #arrivals: { readonly at: number; readonly bytes: Uint8Array }[] = [];

  run(milliseconds: number): void {
    const end = this.now + milliseconds;
    for (;;) {
      const next = Math.min(this.binding.nextTimeout(), this.#arrivals[0]?.at ?? Infinity);
      if (next > end) break;
      this.now = Math.max(this.now, next);
      if ((this.#arrivals[0]?.at ?? Infinity) <= this.now)
        this.binding.handleControl(this.#arrivals.shift()!.bytes, this.now);
      else this.binding.handleTimeout(this.now);
      this.#settle();
    }
    this.now = end;
  }

  get what(): string[] {
    return this.told.map(({ what }) => what);
  }

  #settle(): void {
    for (let event = this.binding.poll(); event; event = this.binding.poll()) {
      if (event.kind === 'send') this.#answer(event.bytes);
      else {
        const where = 'seen' in event ? ` ${formatAddress(event.seen.address)}:${event.seen.port}` : '';
        this.told.push({ what: event.kind + where, at: this.now });
      }
    }
  }

  #answer(bytes: Uint8Array): void {
    this.binds.push(this.now);
    const bind = decodeControl(crypto, key, bytes)!;
    assert.equal(bind.kind, RELAY_KIND.bind);
    assert.ok(bind.sequence > this.#sequence, 'a sequence only ever grows');
    this.#sequence = bind.sequence;
    if (!this.passes || bytes.length > this.carries) return;
    const isKnown = this.#known === this.seen || bind.cookie.every((byte, i) => byte === COOKIE[i]);
    if (isKnown) this.#known = this.seen;
    const address = toIpv6(parseAddress(this.seen)!);
    const kind = isKnown ? RELAY_KIND.bound : RELAY_KIND.challenge;
    const { sequence, length } = bind;
    const answer = { kind, session, sequence, length, address, port: 4_000, cookie: COOKIE };
    this.#arrivals.push({ at: this.now + 10, bytes: encodeControl(crypto, key, answer) });
  }
}

test('a socket is bound in two round trips, and rebound before the binding expires', () => {
  const world = new World();
  world.run(50);
  assert.deepEqual(world.told, [{ what: 'bound 198.51.100.1:4000', at: 1_020 }]);
  world.run(300_000);
  assert.deepEqual(world.what, ['bound 198.51.100.1:4000']);
  assert.ok(world.binds.length >= 16 && world.binds.length <= 18, `${world.binds.length}`);
});

test('blocked UDP is reported within 2 s, and retried forever, but rarely', () => {
  const world = new World();
  world.passes = false;
  world.run(2_000);
  assert.deepEqual(world.what, ['unanswered']);
  world.run(600_000);
  assert.deepEqual(world.what, ['unanswered']);
  assert.ok(world.binds.length < 40, `${world.binds.length}`);
  world.passes = true;
  world.run(BIND_INTERVAL);
  assert.deepEqual(world.what, ['unanswered', 'bound 198.51.100.1:4000']);
});

test('if only small datagrams pass, UDP is not used, but the observed endpoint is reported', () => {
  const world = new World();
  world.carries = FULL - 1;
  world.run(2_500);
  assert.deepEqual(world.what, ['narrow 198.51.100.1:4000']);
  world.run(600_000);
  assert.deepEqual(world.what, ['narrow 198.51.100.1:4000']);
  assert.ok(world.binds.length < 80, `${world.binds.length}`);
  world.passes = false;
  world.run(2 * BIND_INTERVAL);
  world.passes = true;
  world.carries = FULL;
  world.run(2 * BIND_INTERVAL);
  assert.deepEqual(world.what.slice(1), ['unanswered', 'bound 198.51.100.1:4000']);
});

test('the loss of full-size datagrams is detected, and then that small ones still pass', () => {
  const world = new World();
  world.run(60_000);
  world.carries = FULL - 1;
  world.run(24_000 + 2 * BIND_INTERVAL);
  assert.deepEqual(world.what, ['bound 198.51.100.1:4000', 'lost', 'narrow 198.51.100.1:4000']);
});

test('the loss of UDP is detected within 9 s with traffic, and within 24 s without', () => {
  for (const [busy, within] of [
    [true, 9_000],
    [false, 24_000],
  ] as const) {
    const world = new World();
    world.run(60_000);
    world.passes = false;
    const at = world.now;
    while (world.told.length < 2 && world.now < at + 60_000) {
      if (busy) world.binding.handleActivity(world.now);
      world.run(250);
    }
    assert.deepEqual(world.what.slice(1), ['lost']);
    assert.ok(world.told[1]!.at - at <= within, `${world.told[1]!.at - at} ms`);
  }
});

test('it is detected within 2.3 s when packets go out and none come back', () => {
  for (let phase = 0; phase < 20_000; phase += 1_250) {
    const world = new World();
    world.run(60_000 + phase);
    world.passes = false;
    const at = world.now;
    world.run(500); // the silence is noticed
    while (world.told.length < 2 && world.now < at + 60_000) {
      world.binding.handleSilence(world.now);
      world.run(250);
    }
    assert.deepEqual(world.what.slice(1), ['lost']);
    assert.ok(world.told[1]!.at - at <= 2_300, `${world.told[1]!.at - at} ms`);
  }
});

test('a silent peer behind a working relay does not cause binds all the time', () => {
  const world = new World();
  world.run(60_000);
  const before = world.binds.length;
  for (const end = world.now + 60_000; world.now < end; world.run(250))
    world.binding.handleSilence(world.now);
  assert.deepEqual(world.what, ['bound 198.51.100.1:4000']);
  assert.ok(world.binds.length - before <= 61, `${world.binds.length - before} in a minute`);
});

test('a changed observed endpoint is reported', () => {
  const world = new World();
  world.run(1_000);
  world.seen = '198.51.100.2';
  world.binding.rebind(world.now);
  world.run(1_000);
  assert.deepEqual(world.what, ['bound 198.51.100.1:4000', 'bound 198.51.100.2:4000']);
  world.binding.rebind(world.now);
  world.run(1_000);
  assert.deepEqual(world.what.slice(2), ['bound 198.51.100.2:4000'], 'told also where it is the same');
});

test('in another network UDP is tried again, and nothing is reported before the result', () => {
  const world = new World();
  world.passes = false;
  world.run(60_000);
  assert.deepEqual(world.what, ['unanswered']);
  const moved = world.now;
  world.binding.rebind(moved);
  world.run(5_000);
  assert.deepEqual(world.what, ['unanswered', 'unanswered'], 'once more, since it holds here, too');
  assert.ok(world.told[1]!.at > moved + 1_000);
  world.passes = true;
  world.binding.rebind(world.now);
  world.run(100);
  assert.equal(world.what.at(-1), 'bound 198.51.100.1:4000');
});

test('answers from strangers, of other sessions and to old binds are ignored', () => {
  const world = new World();
  world.passes = false;
  world.binding.handleTimeout(world.now);
  const { bytes } = world.binding.poll() as { bytes: Uint8Array };
  const { sequence } = decodeControl(crypto, key, bytes)!;
  const address = toIpv6(parseAddress('203.0.113.9')!);
  const bound = { kind: RELAY_KIND.bound, session, sequence, length: FULL, address, port: 1 };
  const lies = [
    encodeControl(crypto, new Uint8Array(32), bound),
    encodeControl(crypto, key, { ...bound, session: new Uint8Array(8) }),
    encodeControl(crypto, key, { ...bound, sequence: sequence - 1 }),
    encodeControl(crypto, key, { ...bound, sequence: sequence + 1 }),
    new Uint8Array(64),
    new Uint8Array(3),
  ];
  for (const lie of lies) world.binding.handleControl(lie, world.now);
  assert.equal(world.binding.poll(), undefined);
  world.binding.handleControl(encodeControl(crypto, key, bound), world.now);
  assert.equal(world.binding.poll()?.kind, 'bound');
});

test('a relay that only sends challenges does not cause endless binds', () => {
  const world = new World();
  world.binding.handleTimeout(world.now);
  for (let i = 0; i < 50; i++) {
    const event = world.binding.poll();
    if (event?.kind !== 'send') break;
    const { sequence } = decodeControl(crypto, key, event.bytes)!;
    const challenge = {
      kind: RELAY_KIND.challenge,
      session,
      sequence,
      cookie: Uint8Array.of(i, 0, 0, 0, 0, 0),
    };
    world.binding.handleControl(encodeControl(crypto, key, challenge), world.now);
    assert.ok(i < 2);
  }
});

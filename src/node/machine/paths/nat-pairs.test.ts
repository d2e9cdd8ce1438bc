import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { NatKind } from '../../../../tests/kit/nat-model.js';
import { at, type PathHost, PathWorld } from '../../../../tests/kit/path-world.js';

interface Access {
  readonly nat?: NatKind;
  readonly carrier?: NatKind;
}

/** How machines are connected in practice: their own router, and the carrier's behind it. */
const KINDS: Readonly<Record<string, Access>> = {
  public: {},
  firewall: { nat: 'firewall' },
  'full cone': { nat: 'fullCone' },
  'address-restricted': { nat: 'restricted' },
  easy: { nat: 'keepsPorts' },
  'easy with another port': { nat: 'easy' },
  hard: { nat: 'hard' },
  CGNAT: { nat: 'keepsPorts', carrier: 'easy' },
  'hard CGNAT': { nat: 'keepsPorts', carrier: 'hard' },
  'plain Linux': { nat: 'plain' },
};

/** Simultaneous open fails between an unpredictable port and a NAT that admits only ports it has sent to. */
const HARD = /hard/;
const ASKS_FOR_PORTS = /firewall|easy|^CGNAT|hard|plain/;
const canBeDirect = (a: string, b: string): boolean =>
  !(HARD.test(a) && ASKS_FOR_PORTS.test(b)) && !(HARD.test(b) && ASKS_FOR_PORTS.test(a));

function place(world: PathWorld, access: Access, number: number): PathHost {
  const isInside = access.nat !== undefined && access.nat !== 'firewall';
  const inside = { lan: `192.168.${number}.0/24`, wan: `198.51.100.${number}` };
  const address = isInside ? `192.168.${number}.5` : `203.0.113.${number}`;
  return world.host(world.site({ ...access, ...(isInside && inside) }), address);
}

interface Conditions {
  /** How many of 100 probes are lost. */
  readonly loss?: number;
  readonly before?: (a: PathHost, b: PathHost) => void;
  /** After how many milliseconds the relay reports each host's public address; before the start if not given. */
  readonly told?: readonly [number, number];
  /** How often one host checks its addresses and asks the relay, with the same result; milliseconds. */
  readonly lookEvery?: number;
}

/** One host begins to send to another. @returns after how many milliseconds both directions are direct */
function meet(
  seed: number,
  [one, other]: readonly [Access, Access],
  within: number,
  { loss = 0, before, told, lookEvery = Infinity }: Conditions = {},
): number {
  const world = new PathWorld(seed);
  world.jitter = 2;
  const a = place(world, one, 1);
  const b = place(world, other, 2);
  world.loss = loss;
  before?.(a, b);
  const late = told === undefined ? [] : [a, b].map((host, i) => ({ host, at: world.now + told[i]! }));
  for (const { host } of late) host.paths.setOwn([host.own], false, world.now);
  const start = world.now;
  let nextLook = start + lookEvery;
  const isDirect = (host: PathHost, peer: PathHost): boolean => world.via(host, peer) !== 'relay';
  while (world.now - start < within && !(isDirect(a, b) && isDirect(b, a))) {
    a.paths.handleActivity(b.id, world.now);
    if (world.now - start >= world.delays.relay) b.paths.handleActivity(a.id, world.now);
    if (world.now >= nextLook) {
      nextLook += lookEvery;
      world.announce(a, false);
      world.announce(a);
    }
    for (const entry of late.splice(0)) {
      if (world.now >= entry.at) world.announce(entry.host);
      else late.push(entry);
    }
    world.run(5);
  }
  return world.now - start;
}

/** The host that begins comes first. */
const pairs = Object.keys(KINDS).flatMap((a) => Object.keys(KINDS).map((b) => [a, b] as const));

test('pairs of NATs that simultaneous open can traverse are direct within 3 s, and the others stay relayed', () => {
  for (const [one, other] of pairs) {
    for (let seed = 1; seed <= 5; seed++) {
      const took = meet(seed, [KINDS[one]!, KINDS[other]!], 3_000);
      assert.equal(took < 3_000, canBeDirect(one, other), `${one}, ${other}, seed ${seed}`);
    }
  }
});

const PLAIN: Access = { nat: 'plain' };

test('two plain Linux routers are traversed within 3 s in 9 of 10 runs, although 5% of the probes are lost', () => {
  for (const other of [PLAIN, KINDS['easy']!, KINDS['CGNAT']!]) {
    for (const pair of [
      [PLAIN, other],
      [other, PLAIN],
    ] as const) {
      const took = Array.from({ length: 100 }, (_, seed) => meet(seed, pair, 3_000, { loss: 5 }));
      const late = took.filter((time) => time >= 3_000).length;
      assert.ok(late <= 10, `${late} of 100 late`);
    }
  }
});

test('two plain Linux routers are traversed within 3 s even if their addresses become known during the calls', () => {
  const late: string[] = [];
  for (let seed = 0; seed < 400; seed++) {
    const told = [(seed % 20) * 10, Math.floor(seed / 20) * 10] as const;
    if (meet(seed, [PLAIN, PLAIN], 3_000, { told }) >= 3_000) late.push(`${told}`);
  }
  assert.deepEqual(late, []);
});

const bothRemembered = (a: PathHost, b: PathHost): void => {
  for (const [own, peer] of [
    [a, b],
    [b, a],
  ] as const)
    own.site.routers[0]!.in(at(peer.site.wan!, 41_641), at(own.site.wan!, 41_641), 1_000);
};

test('a router that has tracked an early ping gets the time to forget it', () => {
  for (let seed = 1; seed <= 10; seed++) {
    const took = meet(seed, [PLAIN, PLAIN], 200_000, { before: bothRemembered });
    assert.ok(took > 30_000 && took < 80_000, `seed ${seed}: ${took} ms`);
  }
});

test("it gets that time even if the machine's addresses are checked again and again", () => {
  const took = meet(1, [PLAIN, PLAIN], 200_000, { before: bothRemembered, lookEvery: 20_000 });
  assert.ok(took < 80_000, `${took} ms`);
});

test('a plain router behind another one is traversed after a while', () => {
  const behind: Access = { nat: 'plain', carrier: 'plain' };
  for (const pair of [
    [behind, PLAIN],
    [PLAIN, behind],
    [behind, behind],
  ] as const) {
    const took = meet(1, pair, 300_000);
    assert.ok(took < 200_000, `${took} ms`);
  }
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { at, DATA_LENGTH, INSIDE, type PathHost, PathWorld } from '../../../../tests/kit/path-world.js';
import { parseCidr } from '../../../ip/cidr.js';
import { ACTIVE_TIME } from './path-rules.js';

/** Two homes behind ordinary NATs, and a server on the internet. */
function homes(world: PathWorld) {
  const one = world.site({ lan: '192.168.1.0/24', wan: '198.51.100.1' });
  const two = world.site({ lan: '192.168.2.0/24', wan: '198.51.100.2' });
  const open = world.site();
  return {
    laptop: world.host(one, '192.168.1.5'),
    phone: world.host(one, '192.168.1.6'),
    office: world.host(two, '192.168.2.5'),
    server: world.host(open, '203.0.113.7'),
  };
}

const pings = (host: PathHost, to?: string) =>
  host.sent.filter(({ to: where, probe }) => probe.type === 'ping' && (to === undefined || where === to));

const why = (world: PathWorld, host: PathHost, peer: PathHost) =>
  host.paths.status(peer.id, world.now, 0)!.why;

test('without traffic, peers are relayed and nothing is probed', () => {
  const world = new PathWorld();
  const { laptop, office } = homes(world);
  world.run(60_000);
  assert.equal(world.via(laptop, office), 'relay');
  assert.deepEqual(laptop.sent, []);
  assert.match(why(world, laptop, office), /no traffic/);
});

test('with traffic, the local address is found and used within a second', () => {
  const world = new PathWorld();
  const { laptop, phone } = homes(world);
  world.traffic(laptop, phone, 1_000);
  assert.equal(world.via(laptop, phone), '192.168.1.6:41641');
  assert.equal(world.via(phone, laptop), '192.168.1.5:41641');
  assert.match(why(world, laptop, phone), /local network/);
});

test('a server on the internet is reached directly from behind a NAT, and answers directly', () => {
  const world = new PathWorld();
  const { laptop, server } = homes(world);
  world.traffic(laptop, server, 1_000);
  assert.equal(world.via(laptop, server), '203.0.113.7:41641');
  assert.match(world.via(server, laptop), /^198\.51\.100\.1:5/);
});

test('two ordinary NATs are traversed by pings in both directions', () => {
  const world = new PathWorld();
  const { laptop, office } = homes(world);
  world.traffic(laptop, office, 2_000);
  assert.match(world.via(laptop, office), /^198\.51\.100\.2:/);
  assert.match(world.via(office, laptop), /^198\.51\.100\.1:/);
});

test('where UDP is blocked, the peer stays relayed, and the status lists the addresses without an answer', () => {
  const world = new PathWorld();
  const { laptop } = homes(world);
  const cafe = world.host(world.site({ lan: '172.16.0.0/24', blocked: true }), '172.16.0.9');
  world.traffic(laptop, cafe, 10_000);
  assert.equal(world.via(laptop, cafe), 'relay');
  assert.equal(world.via(cafe, laptop), 'relay');
  assert.match(why(world, laptop, cafe), /no answer from 172\.16\.0\.9:41641/);
});

test('two symmetric NATs stay relayed', () => {
  const world = new PathWorld();
  const a = world.host(
    world.site({ lan: '192.168.1.0/24', wan: '198.51.100.1', nat: 'hard' }),
    '192.168.1.5',
  );
  const b = world.host(
    world.site({ lan: '192.168.2.0/24', wan: '198.51.100.2', nat: 'hard' }),
    '192.168.2.5',
  );
  world.traffic(a, b, 20_000);
  assert.equal(world.via(a, b), 'relay');
  assert.match(why(world, a, b), /no answer from/);
});

test('an unsuccessful search becomes rarer', () => {
  const world = new PathWorld();
  const { laptop } = homes(world);
  const cafe = world.host(world.site({ lan: '172.16.0.0/24', blocked: true }), '172.16.0.9');
  world.traffic(laptop, cafe, 10_000);
  const first = pings(laptop, '172.16.0.9:41641').length;
  world.traffic(laptop, cafe, 300_000);
  laptop.sent = [];
  world.traffic(laptop, cafe, 120_000);
  assert.ok(first >= 4, `${first} in the first 10 s`);
  const last = pings(laptop, '172.16.0.9:41641').length;
  assert.ok(last <= 6, `${last} in 2 minutes: two a minute in the end`);
});

test('a path that loses large datagrams is not used, and the status says so', () => {
  const world = new PathWorld();
  const { laptop } = homes(world);
  const narrow = world.host(world.site({ carries: 1_250 }), '203.0.113.8');
  world.traffic(laptop, narrow, 10_000);
  assert.deepEqual(
    new Set(laptop.used.filter(({ peer }) => peer === narrow.id).map(({ via }) => via)),
    new Set(['relay']),
  );
  assert.match(why(world, laptop, narrow), /203\.0\.113\.8:41641 answers, but packets of full size/);
});

test('addresses of strangers in a call get no large datagrams, and few small ones', () => {
  const world = new PathWorld();
  const { laptop, office } = homes(world);
  const victim = at('203.0.113.200', 53);
  for (let i = 0; i < 1_000; i++) {
    for (const type of ['call', 'opened'] as const)
      world.inject(
        laptop,
        office,
        { type, transaction: new Uint8Array(8), answers: new Uint8Array(8), addresses: [victim] },
        at('198.51.100.2', 50_000),
      );
    world.run(10);
  }
  const sent = pings(laptop, '203.0.113.200:53');
  assert.ok(sent.length > 0 && sent.length <= 25, `${sent.length} in 10 s`);
  assert.ok(sent.every(({ probe }) => probe.type === 'ping' && (probe.length ?? 0) < 100));
});

test('unusable candidates are not probed', () => {
  const world = new PathWorld();
  const { laptop, office } = homes(world);
  const bad = ['127.0.0.1', '0.0.0.0', '224.0.0.1', '255.255.255.255', '169.254.169.254', '10.77.0.9']
    .concat('::1', '::', 'ff02::1', 'fe80::1', 'fd77::9', '::ffff:127.0.0.1')
    .map((text) => at(text, 4_000));
  const addresses = [...bad, at('203.0.113.50', 0), laptop.own];
  for (let i = 0; i < addresses.length; i += 7) {
    const some = addresses.slice(i, i + 7);
    world.inject(
      laptop,
      office,
      { type: 'call', transaction: new Uint8Array(8), addresses: some },
      office.own,
    );
    world.run(5_000);
  }
  world.traffic(laptop, office, 3_000);
  const asked = new Set(pings(laptop).map(({ to }) => to));
  assert.ok(asked.size > 0);
  for (const { address, port } of addresses)
    for (const to of asked) assert.ok(!to.startsWith(`${address.join('.')}:${port}`), to);
  for (const to of asked) assert.match(to, /^(?:relay|198\.51\.100\.2:|192\.168\.2\.5:)/);
});

test('no address that is routed into the tunnel is used directly', () => {
  const world = new PathWorld();
  const { laptop, phone } = homes(world);
  const shared = [...INSIDE, parseCidr('192.168.1.0/24')!];
  world.traffic(laptop, phone, 1_000);
  assert.equal(world.via(laptop, phone), '192.168.1.6:41641', 'while it does not');
  laptop.paths.setInside(shared, world.now);
  laptop.sent = [];
  world.traffic(laptop, phone, 30_000);
  assert.doesNotMatch(world.via(laptop, phone), /^192\.168/);
  assert.equal(pings(laptop, '192.168.1.6:41641').length, 0);

  laptop.paths.setInside(INSIDE, world.now);
  world.traffic(laptop, phone, 90_000);
  assert.equal(world.via(laptop, phone), '192.168.1.6:41641', 'when it does not any more');
});

test('only a few candidates of a peer are remembered', () => {
  const world = new PathWorld();
  const { laptop, office } = homes(world);
  for (let i = 0; i < 500; i++) {
    const place = at(`203.0.113.${i % 250}`, 1_000 + i);
    world.inject(laptop, office, { type: 'call', transaction: new Uint8Array(8), addresses: [place] }, place);
    world.inject(laptop, office, { type: 'ping', transaction: new Uint8Array(8), length: undefined }, place);
    world.run(100);
  }
  laptop.sent = [];
  laptop.paths.handleActivity(office.id, world.now);
  world.run(100);
  assert.ok(new Set(pings(laptop).map(({ to }) => to)).size <= 14);
});

test('answers to pings are rate-limited', () => {
  const world = new PathWorld();
  const { laptop, office } = homes(world);
  for (let i = 0; i < 2_000; i++) {
    world.inject(laptop, office, { type: 'ping', transaction: new Uint8Array(8) }, at('203.0.113.9', 9));
    world.run(1);
  }
  const pongs = laptop.sent.filter(({ probe }) => probe.type === 'pong').length;
  assert.ok(pongs > 40 && pongs <= 85, `${pongs} in 2 s`);
});

test('a pong counts once, and only from the pinged address', () => {
  const world = new PathWorld();
  const { laptop, office } = homes(world);
  const place = at('203.0.113.60', 7_000);
  world.inject(
    laptop,
    office,
    { type: 'call', transaction: new Uint8Array(8), addresses: [place] },
    office.own,
  );
  const ping = pings(laptop, '203.0.113.60:7000')[0]!;
  const pong = { type: 'pong', transaction: ping.probe.transaction } as const;
  const large = () =>
    pings(laptop).filter(({ probe }) => probe.type === 'ping' && probe.length === DATA_LENGTH);
  world.inject(laptop, office, pong, at('203.0.113.61', 7_000));
  assert.equal(large().length, 0);
  world.inject(laptop, office, pong, place);
  assert.equal(large().length, 1);
  world.inject(laptop, office, pong, place);
  assert.equal(large().length, 1);
  assert.equal(world.via(laptop, office), 'relay', 'the large one is still to be answered');
});

test('a silent direct path is abandoned within 5 s, and found again when it works', () => {
  const world = new PathWorld();
  const { laptop, server } = homes(world);
  world.traffic(laptop, server, 10_000);
  assert.notEqual(world.via(laptop, server), 'relay');
  const site = server.site as { blocked?: boolean };
  site.blocked = true;
  const lostAt = world.now;
  world.traffic(laptop, server, 6_000);
  assert.equal(world.via(laptop, server), 'relay');
  assert.ok(laptop.used.at(-1)!.at - lostAt <= 5_200, `${laptop.used.at(-1)!.at - lostAt} ms`);
  assert.match(why(world, laptop, server), /203\.0\.113\.7:41641 stopped answering/);
  site.blocked = false;
  world.traffic(laptop, server, 20_000);
  assert.equal(world.via(laptop, server), '203.0.113.7:41641');
});

/** Packets go to a peer for this time, and none come back. */
function silence(world: PathWorld, host: PathHost, peer: PathHost, milliseconds: number): void {
  for (const end = world.now + milliseconds; world.now < end; ) {
    host.paths.handleActivity(peer.id, world.now);
    host.paths.handleSilence(peer.id, world.now);
    world.settle();
    world.run(250);
  }
}

test('a direct path on which nothing comes back is abandoned within 2.3 s', () => {
  const world = new PathWorld();
  const { laptop, server } = homes(world);
  for (let phase = 0; phase < 2_000; phase += 250) {
    world.traffic(laptop, server, 20_000 + phase);
    assert.equal(world.via(laptop, server), '203.0.113.7:41641');
    const site = server.site as { blocked?: boolean };
    site.blocked = true;
    const lostAt = world.now;
    world.traffic(laptop, server, 500); // it could be slow
    silence(world, laptop, server, 3_000);
    const { via, at } = laptop.used.at(-1)!;
    assert.equal(via, 'relay');
    assert.ok(at - lostAt <= 2_300, `${at - lostAt} ms`);
    site.blocked = false;
    world.traffic(laptop, server, 20_000);
  }
});

test('a direct path that answers pings stays although the peer sends nothing, and is not pinged all the time', () => {
  const world = new PathWorld();
  const { laptop, server } = homes(world);
  world.traffic(laptop, server, 5_000);
  const uses = laptop.used.length;
  laptop.sent = [];
  silence(world, laptop, server, 60_000);
  assert.equal(laptop.used.length, uses);
  assert.ok(pings(laptop, '203.0.113.7:41641').length <= 61);
});

test('moderate loss does not end a direct path', () => {
  const world = new PathWorld(7);
  const { laptop, phone } = homes(world);
  world.traffic(laptop, phone, 2_000);
  world.loss = 5;
  const uses = laptop.used.length;
  world.traffic(laptop, phone, 300_000);
  assert.equal(laptop.used.length, uses);
});

test('a direct path is found although a third of the probes is lost', () => {
  for (let seed = 1; seed <= 20; seed++) {
    const world = new PathWorld(seed);
    const { laptop, server } = homes(world);
    world.loss = 33;
    world.traffic(laptop, server, 60_000);
    assert.ok(
      laptop.used.some(({ via }) => via === '203.0.113.7:41641'),
      `seed ${seed}`,
    );
  }
});

test('the better of two addresses is used, without flapping', () => {
  const world = new PathWorld();
  const { laptop, phone } = homes(world);
  // The first probes of the phone take a detour.
  world.inject(laptop, phone, { type: 'ping', transaction: new Uint8Array(8) }, at('203.0.113.99', 4_000));
  world.traffic(laptop, phone, 600_000);
  const used = laptop.used.filter(({ peer }) => peer === phone.id).map(({ via }) => via);
  assert.deepEqual([...new Set(used)], ['relay', '192.168.1.6:41641']);
  assert.ok(used.filter((via) => via !== 'relay').length === 1, used.join(' '));
});

test('a path follows a host that moves', () => {
  const world = new PathWorld();
  const { laptop, server } = homes(world);
  world.traffic(laptop, server, 5_000);
  server.own = at('203.0.113.17', 41_641);
  world.announce(server);
  world.traffic(laptop, server, 3_000);
  assert.equal(world.via(laptop, server), '203.0.113.17:41641');
});

test('without traffic, pings stop and the relay is used again', () => {
  const world = new PathWorld();
  const { laptop, server } = homes(world);
  world.traffic(laptop, server, 5_000);
  world.run(ACTIVE_TIME + 15_000);
  assert.equal(world.via(laptop, server), 'relay');
  laptop.sent = [];
  world.run(600_000);
  assert.deepEqual(laptop.sent, []);
});

test('without the hub, direct paths stay, earlier ones come back, and the status explains the rest', () => {
  const world = new PathWorld();
  const { laptop, server, office } = homes(world);
  world.traffic(laptop, server, 5_000);
  world.setRelay(false);
  world.traffic(laptop, server, 150_000);
  assert.equal(world.via(laptop, server), '203.0.113.7:41641');
  assert.match(why(world, laptop, office), /no relay \(the hub is away\), and no direct path was ever found/);
  const site = server.site as { blocked?: boolean };
  site.blocked = true;
  world.traffic(laptop, server, 10_000);
  assert.equal(laptop.paths.status(server.id, world.now, 0)!.kind, 'none');
  assert.match(why(world, laptop, server), /no answer from 203\.0\.113\.7:41641/);
  site.blocked = false;
  world.traffic(laptop, server, 90_000);
  assert.equal(laptop.paths.status(server.id, world.now, 0)!.kind, 'direct');
  world.setRelay(true);
  assert.equal(world.via(laptop, server), '203.0.113.7:41641');
  assert.equal(world.via(laptop, office), 'relay');
});

test('a node that starts without the hub uses the last endpoint of each peer', () => {
  const world = new PathWorld();
  world.relayWorks = false;
  const server = world.host(world.site(), '203.0.113.7');
  const laptop = world.host(world.site({ lan: '192.168.1.0/24', wan: '198.51.100.1' }), '192.168.1.5');
  laptop.paths.removePeer(server.id);
  laptop.paths.addPeer(server.id, at('203.0.113.7', 41_641), world.now);
  world.settle();
  assert.equal(world.via(laptop, server), '203.0.113.7:41641');
  assert.equal(laptop.paths.status(server.id, world.now, 0)!.kind, 'none');
  world.traffic(laptop, server, 1_000);
  assert.equal(laptop.paths.status(server.id, world.now, 0)!.kind, 'direct');
});

test("a user's ping is answered through the relay, then directly; an offline or unknown peer does not answer", () => {
  const world = new PathWorld();
  const { laptop, server } = homes(world);
  let token = 0;
  const ask = (peer: { readonly id: number }): number | undefined => {
    laptop.paths.ping(peer.id, ++token, world.now);
    world.run(2_500);
    assert.ok(laptop.answers.has(token));
    return laptop.answers.get(token);
  };
  assert.equal(ask(server), 60);
  assert.equal(ask(server), 30);
  world.hosts.splice(world.hosts.indexOf(server), 1);
  assert.equal(ask(server), undefined);
  assert.equal(ask({ id: 99 }), undefined, 'a member that is not known');
});

test('when the relay moves, relayed peers are announced again', () => {
  const world = new PathWorld();
  const { laptop, server } = homes(world);
  world.traffic(laptop, server, 2_000);
  const before = laptop.used.length;
  laptop.paths.setRelay(true, '', world.now);
  world.settle();
  assert.equal(laptop.used.length, before + 2);
  assert.ok(laptop.used.slice(before).every(({ via, peer }) => via === 'relay' && peer !== server.id));
});

import assert from 'node:assert/strict';
import { type ChildProcess, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseCidr } from '../../src/ip/cidr.js';
import { connect, Namespace } from '../../src/linux/process/namespace.js';
import { startForwarding, sweepForwarding } from '../kit/forwarding.js';
import { needs } from '../kit/requirements.js';
import { until } from '../kit/wait.js';

const HOST = {
  /** A host on the shared LAN. */
  shared: ['192.168.7.10', 'fd07::10'],
  /** A host on another LAN behind the same gateway. */
  other: ['192.168.8.10', 'fd08::10'],
  internet: ['203.0.113.10', '2001:db8::10'],
} as const;
const INNER = { member: ['10.7.0.2', 'fd00::2'], gateway: ['10.7.0.1', 'fd00::1'] } as const;
const SHARED = cidrs('192.168.7.0/24', 'fd07::/64');
const OTHER = cidrs('192.168.8.0/24', 'fd08::/64');

interface Site {
  readonly member: Namespace;
  readonly gateway: Namespace;
  readonly shared: Namespace;
  readonly other: Namespace;
  readonly internet: Namespace;
}
let count = 0;

function cidrs(...texts: string[]) {
  return texts.map((text) => parseCidr(text)!);
}

/**
 * member --- tun0 (1400) gateway; behind it lan0 with `shared`, lan1 with `other`, and wan0 with `internet`. The hosts
 * have no route back to the member. The member has routes to all of them, as an attacker would.
 */
function site(t: TestContext): Site {
  const names = ['member', 'gateway', 'shared', 'other', 'internet'] as const;
  const made = Namespace.createAll(names.map((name) => `lt-${name}-${process.pid}-${count++}`));
  t.after(() => {
    for (const namespace of made) namespace.remove();
  });
  const found = Object.fromEntries(names.map((name, i) => [name, made[i]!])) as unknown as Site;
  const { member, gateway } = found;
  const all = ['0.0.0.0/0', '::/0'];
  connect(
    {
      namespace: member,
      device: 'm0',
      addresses: ['10.7.0.2/24', 'fd00::2/64'],
      routes: all.map((to, i) => ({ to, via: INNER.gateway[i]! })),
    },
    { namespace: gateway, device: 'tun0', addresses: ['10.7.0.1/24', 'fd00::1/64'] },
  );
  gateway.ip(['link set tun0 mtu 1400']);
  for (const [namespace, device, four, six] of [
    [found.shared, 'lan0', '192.168.7', 'fd07'],
    [found.other, 'lan1', '192.168.8', 'fd08'],
    [found.internet, 'wan0', '203.0.113', '2001:db8'],
  ] as const) {
    connect(
      { namespace: gateway, device, addresses: [`${four}.1/24`, `${six}::1/64`] },
      { namespace, device: 'eth0', addresses: [`${four}.10/24`, `${six}::10/64`] },
    );
  }
  gateway.ip(['route add default via 203.0.113.10', 'route add default via 2001:db8::10']);
  // A veth pair carries nothing until the kernel has noticed that both ends are up.
  const ends = [...INNER.member, ...Object.values(HOST).flat()];
  for (let i = 0; answers(gateway, ends).length < ends.length; i++) assert.ok(i < 10, 'the links are up');
  return found;
}

/** Makes the gateway forward already, as for containers or virtual machines. */
const enableForwarding = ({ gateway }: Site): void =>
  gateway.sysctl({ 'net.ipv4.ip_forward': 1, 'net.ipv6.conf.all.forwarding': 1 });

/** Gives hosts routes back, or into the tunnel. */
function addRoutes(namespace: Namespace, router: readonly [string, string]): void {
  namespace.ip(
    ['route replace 10.7.0.0/16', 'route replace fd00::/64'].map((text, i) => `${text} via ${router[i]}`),
  );
}

/** The addresses that reply within four seconds. All are pinged at once. */
function answers(from: Namespace, addresses: readonly string[]): string[] {
  const script = 'for to; do { ping -c1 -w4 -n "$to" >/dev/null && echo "$to"; } & done; wait';
  const said = from.inside(() => spawnSync('sh', ['-c', script, 'sh', ...addresses], { encoding: 'utf8' }));
  return said.stdout.split('\n').filter((line) => line !== '');
}

const pings = (from: Namespace, to: string): boolean => answers(from, [to]).length === 1;

/** Its changes disappear with the namespace. */
const start = (
  { gateway }: Site,
  destinations: ReturnType<typeof cidrs>,
): ReturnType<typeof startForwarding> =>
  gateway.inside(() => startForwarding({ device: 'tun0', destinations }));

/** A server that sends each client the client's address, then echoes. */
async function serve(t: TestContext, namespace: Namespace): Promise<void> {
  const script = `
    require('net').createServer((s) => { s.on('error', () => {}); s.write(s.remoteAddress.replace('::ffff:', '') + '\\n'); s.pipe(s); })
      .listen(8000, '::', () => console.log('ready'));`;
  const child = namespace.spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'inherit'] });
  t.after(() => child.kill('SIGKILL'));
  await once(child.stdout!, 'data');
}

/** A connection with continuous traffic: its source address at the server, and the number of echoes so far. */
async function talk(t: TestContext, from: Namespace, to: string) {
  const script = `
    const s = require('net').connect(8000, ${JSON.stringify(to)});
    s.on('error', () => {});
    setInterval(() => s.write('x'), 20);
    s.pipe(process.stdout);`;
  const child: ChildProcess = from.spawn(process.execPath, ['-e', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  t.after(() => child.kill('SIGKILL'));
  let text = '';
  child.stdout!.setEncoding('utf8').on('data', (chunk: string) => {
    text += chunk;
  });
  const answered = (): number => text.length;
  await until('a connection', () => text.includes('\n'));
  return {
    source: text.split('\n')[0]!,
    answered,
    goesOn: async () => {
      const before = answered();
      await until('the connection to make progress', () => answered() > before + 3);
    },
  };
}

/** The hosts that a member reaches, equally by IPv4 and IPv6. */
function reached(from: Namespace): string[] {
  const places: Record<string, readonly [string, string]> = {
    ...HOST,
    gateway: INNER.gateway,
    'lan0 of gateway': ['192.168.7.1', 'fd07::1'],
    'lan1 of gateway': ['192.168.8.1', 'fd08::1'],
    'wan0 of gateway': ['203.0.113.1', '2001:db8::1'],
  };
  const answering = new Set(answers(from, Object.values(places).flat()));
  return Object.entries(places).flatMap(([name, [four, six]]) => {
    assert.equal(answering.has(four), answering.has(six), `${name}: IPv4 and IPv6 differ`);
    return answering.has(four) ? [name] : [];
  });
}

test('a member reaches the shared LAN and the gateway, and nothing else behind it', (t) => {
  if (!needs(t, 'netns', 'nft', 'ping')) return;
  const at = site(t);
  enableForwarding(at);
  for (const host of [at.shared, at.other, at.internet]) {
    addRoutes(
      host,
      host === at.shared
        ? ['192.168.7.1', 'fd07::1']
        : host === at.other
          ? ['192.168.8.1', 'fd08::1']
          : ['203.0.113.1', '2001:db8::1'],
    );
  }
  assert.deepEqual(reached(at.member).length, 7, 'control: without lametun everything is reachable');
  const forwarding = start(at, SHARED);
  assert.deepEqual(reached(at.member), ['shared', 'gateway', 'lan0 of gateway']);
  at.gateway.inside(() => forwarding.update([]));
  assert.deepEqual(reached(at.member), ['gateway'], 'without shares nothing is forwarded');
  at.gateway.inside(() => forwarding.stop());
  assert.equal(reached(at.member).length, 7);
});

test('a machine that did not forward does so only while it has shares', (t) => {
  if (!needs(t, 'netns', 'nft', 'ping')) return;
  const at = site(t);
  const settings = (): string =>
    at.gateway.inside(() =>
      ['ipv4/ip_forward', 'ipv6/conf/all/forwarding']
        .map((name) => readFileSync(`/proc/sys/net/${name}`, 'utf8').trim())
        .join(),
    );
  const forwarding = start(at, []);
  assert.equal(settings(), '0,0');
  at.gateway.inside(() => forwarding.update(cidrs('192.168.7.0/24')));
  assert.equal(settings(), '1,0');
  assert.ok(pings(at.member, HOST.shared[0]));
  assert.ok(!pings(at.member, HOST.internet[0]) && !pings(at.member, HOST.other[0]));
  at.gateway.inside(() => forwarding.update(SHARED));
  assert.equal(settings(), '1,1');
  assert.ok(pings(at.member, HOST.shared[1]), 'the LAN sees the gateway’s address, and needs no route back');
  at.gateway.inside(() => forwarding.stop());
  assert.equal(settings(), '0,0');
  assert.equal(at.gateway.run('nft', ['list', 'ruleset']).trim(), '');
});

test('approving and withdrawing shares does not break connections to other shares', async (t) => {
  if (!needs(t, 'netns', 'nft')) return;
  const at = site(t);
  const forwarding = start(at, SHARED);
  for (const host of [at.shared, at.other]) await serve(t, host);
  const first = await Promise.all(HOST.shared.map((address) => talk(t, at.member, address)));
  assert.deepEqual(
    first.map(({ source }) => source),
    ['192.168.7.1', 'fd07::1'],
  );
  at.gateway.inside(() => forwarding.update([...SHARED, ...OTHER]));
  const second = await Promise.all(HOST.other.map((address) => talk(t, at.member, address)));
  for (const one of [...first, ...second]) await one.goesOn();
  at.gateway.inside(() => forwarding.update(OTHER));
  const [before] = first.map(({ answered }) => answered());
  for (const one of second) await one.goesOn();
  const counts = (): string => first.map(({ answered }) => answered()).join();
  const cut = await until('packets in flight to arrive', async () => {
    const seen = counts();
    await sleep(500);
    return counts() === seen && seen;
  });
  for (const one of second) await one.goesOn();
  assert.equal(counts(), cut, 'the withdrawn share is cut off');
  assert.ok(before! > 0);
  at.gateway.inside(() => forwarding.update([...SHARED, ...OTHER]));
  for (const one of first) await one.goesOn();
});

test('taking over from a killed node breaks no connection', async (t) => {
  if (!needs(t, 'netns', 'nft')) return;
  const at = site(t);
  const module = new URL('../kit/forwarding.js', import.meta.url).href;
  const destinations = '[{ address: Uint8Array.of(192, 168, 7, 0), prefix: 24 }]';
  const script = `
    const { startForwarding } = await import(${JSON.stringify(module)});
    startForwarding({ device: 'tun0', destinations: ${destinations} });
    console.log('ready');
    setInterval(() => {}, 1000);`;
  const child = at.gateway.spawn(process.execPath, ['--input-type=module', '-e', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  t.after(() => child.kill('SIGKILL'));
  await once(child.stdout!, 'data');
  await serve(t, at.shared);
  const connection = await talk(t, at.member, HOST.shared[0]);
  child.kill('SIGKILL');
  await once(child, 'exit');
  assert.ok(!pings(at.member, HOST.other[0]), 'the rules of the killed node still keep members out');
  const forwarding = start(at, SHARED);
  await connection.goesOn();
  at.gateway.inside(() => forwarding.stop());
  assert.equal(at.gateway.run('nft', ['list', 'ruleset']).trim(), '');
});

test('a sweep undoes the changes of a killed node', async (t) => {
  if (!needs(t, 'netns', 'nft')) return;
  const at = site(t);
  const module = new URL('../kit/forwarding.js', import.meta.url).href;
  const script = `
    const { startForwarding } = await import(${JSON.stringify(module)});
    startForwarding({ device: 'tun0', destinations: [{ address: Uint8Array.of(192, 168, 7, 0), prefix: 24 }] });
    process.kill(process.pid, 'SIGKILL');`;
  const child = at.gateway.spawn(process.execPath, ['--input-type=module', '-e', script], {
    stdio: 'inherit',
  });
  await once(child, 'exit');
  assert.match(at.gateway.run('nft', ['list', 'tables']), /lametun_tun0/);
  at.gateway.inside(sweepForwarding);
  assert.equal(at.gateway.run('nft', ['list', 'ruleset']).trim(), '');
  assert.equal(
    at.gateway.inside(() => readFileSync('/proc/sys/net/ipv4/ip_forward', 'utf8').trim()),
    '0',
  );
});

test('hosts behind the node reach members: shared ones with their own address, others with the node’s', async (t) => {
  if (!needs(t, 'netns', 'nft')) return;
  const at = site(t);
  start(at, SHARED);
  addRoutes(at.shared, ['192.168.7.1', 'fd07::1']);
  addRoutes(at.other, ['192.168.8.1', 'fd08::1']);
  await serve(t, at.member);
  for (const i of [0, 1] as const) {
    const shared = await talk(t, at.shared, INNER.member[i]);
    assert.equal(shared.source, HOST.shared[i]);
    const other = await talk(t, at.other, INNER.member[i]);
    assert.equal(other.source, INNER.gateway[i]);
    const own = await talk(t, at.gateway, INNER.member[i]);
    assert.equal(own.source, INNER.gateway[i]);
  }
});

test('no one can enter the network from the Internet', async (t) => {
  if (!needs(t, 'netns', 'nft', 'ping')) return;
  const at = site(t);
  enableForwarding(at);
  addRoutes(at.internet, ['203.0.113.1', '2001:db8::1']);
  assert.ok(
    pings(at.internet, INNER.member[0]) && pings(at.internet, INNER.member[1]),
    'control: without lametun they could',
  );
  start(at, SHARED);
  assert.ok(!pings(at.internet, INNER.member[0]) && !pings(at.internet, INNER.member[1]));
  addRoutes(at.shared, ['192.168.7.1', 'fd07::1']);
  assert.ok(pings(at.shared, INNER.member[0]) && pings(at.shared, INNER.member[1]), 'the LAN can');
});

test('on a machine with one network card, the shared LAN may enter although it is also the uplink', (t) => {
  if (!needs(t, 'netns', 'nft', 'ping')) return;
  const at = site(t);
  at.gateway.ip(['route replace default via 192.168.7.10', 'route replace default via fd07::10']);
  start(at, SHARED);
  addRoutes(at.shared, ['192.168.7.1', 'fd07::1']);
  assert.ok(pings(at.shared, INNER.member[0]) && pings(at.shared, INNER.member[1]));
});

test('a published port is reachable at the node’s address, but DNAT rules make nothing else reachable', async (t) => {
  if (!needs(t, 'netns', 'nft')) return;
  const at = site(t);
  enableForwarding(at);
  // Like a container's published port, and a cluster's service addresses.
  at.gateway.run('nft', ['-f', '-'], {
    input: `table ip publish { chain pre { type nat hook prerouting priority -100;
      fib daddr type local tcp dport 8000 dnat to ${HOST.other[0]}
      ip daddr 172.30.0.1 dnat to ${HOST.other[0]}
    }; }`,
  });
  await serve(t, at.other);
  start(at, SHARED);
  const published = await talk(t, at.member, INNER.gateway[0]);
  assert.equal(published.source, '192.168.8.1');
  assert.ok(!pings(at.member, '172.30.0.1'));
});

test('the MSS is clamped to the tunnel’s MTU in both directions', async (t) => {
  if (!needs(t, 'netns', 'nft')) return;
  const at = site(t);
  start(at, SHARED);
  addRoutes(at.shared, ['192.168.7.1', 'fd07::1']);
  for (const host of [at.member, at.shared]) {
    await serve(t, host);
    host.run('nft', ['-f', '-'], {
      input: `table inet watch {
        counter fits4 {}
        counter fits6 {}
        counter other {}
        chain input {
          type filter hook input priority 0;
          meta nfproto ipv4 tcp flags & syn == syn tcp option maxseg size 1360 counter name fits4
          meta nfproto ipv6 tcp flags & syn == syn tcp option maxseg size 1340 counter name fits6
          meta nfproto ipv4 tcp flags & syn == syn tcp option maxseg size != 1360 counter name other
          meta nfproto ipv6 tcp flags & syn == syn tcp option maxseg size != 1340 counter name other
        }
      }`,
    });
  }
  for (const i of [0, 1] as const) {
    await talk(t, at.member, HOST.shared[i]);
    await talk(t, at.shared, INNER.member[i]);
  }
  for (const host of [at.member, at.shared]) {
    const counters = host.run('nft', ['list', 'counters']);
    // A SYN from the other side and a SYN-ACK of its own; more if a late one was retransmitted.
    assert.equal(counters.match(/counter fits[46] \{\n\s*packets [2-9]/g)?.length, 2, counters);
    assert.match(counters, /counter other \{\n\s*packets 0 /);
  }
});

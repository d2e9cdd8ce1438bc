import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, rmdirSync, rmSync, statSync } from 'node:fs';
import { type TestContext, test } from 'node:test';
import { parseCidr } from '../../src/ip/cidr.js';
import { STATE_DIRECTORY } from '../../src/linux/files/runtime-state.js';
import { Host } from '../../src/linux/host/host.js';
import { connect, Namespace } from '../../src/linux/process/namespace.js';
import { needs } from '../kit/requirements.js';
import { Running } from '../kit/running.js';
import { until } from '../kit/wait.js';

/** The desired state of a gateway: its device, a network behind another member, and two shares. */
const DESIRED = {
  device: {
    up: true,
    mtu: 1400,
    addresses: cidrs('10.7.0.1/16', 'fd00::1/64'),
    routes: cidrs('10.99.0.0/24', 'fd99::/64').map((destination) => ({ destination })),
  },
  forwarding: { destinations: cidrs('192.168.7.0/24', 'fd07::/64') },
};
const SHARED = ['192.168.7.10', 'fd07::10'] as const;
const NOT_SHARED = ['192.168.8.10', 'fd08::10'] as const;
const TABLE = 'inet lametun_tun0';

function cidrs(...texts: string[]) {
  return texts.map((text) => parseCidr(text)!);
}

interface Site {
  readonly member: Namespace;
  readonly gateway: Namespace;
}
let sites = 0;

/** member -- tun0 gateway lan0 -- shared; lan1 -- a host that is not shared; wan0 and wan1 -- the Internet. */
function site(t: TestContext): Site {
  const names = ['member', 'gateway', 'shared', 'other', 'internet'];
  const made = Namespace.createAll(names.map((name) => `lt-host-${name}-${process.pid}-${sites++}`));
  t.after(() => {
    for (const namespace of made) namespace.remove();
  });
  const [member, gateway, shared, other, internet] = made as [
    Namespace,
    Namespace,
    Namespace,
    Namespace,
    Namespace,
  ];
  connect(
    {
      namespace: member,
      device: 'm0',
      addresses: ['10.7.0.2/16', 'fd00::2/64'],
      routes: [
        { to: '0.0.0.0/0', via: '10.7.0.1' },
        { to: '::/0', via: 'fd00::1' },
      ],
    },
    { namespace: gateway, device: 'tun0' },
  );
  for (const [namespace, device, four, six] of [
    [shared, 'lan0', '192.168.7', 'fd07'],
    [other, 'lan1', '192.168.8', 'fd08'],
    [internet, 'wan0', '203.0.113', '2001:db8'],
    [internet, 'wan1', '198.51.100', '2001:db8:1'],
  ] as const) {
    connect(
      { namespace: gateway, device, addresses: [`${four}.1/24`, `${six}::1/64`] },
      {
        namespace,
        device,
        addresses: [`${four}.10/24`, `${six}::10/64`],
        routes: [
          { to: '10.7.0.0/16', via: `${four}.1` },
          { to: 'fd00::/64', via: `${six}::1` },
        ].slice(0, device === 'wan1' ? 0 : 2),
      },
    );
  }
  gateway.ip(['route add default via 203.0.113.10']);
  // An earlier namespace with the same number may have left its journal, if a process was killed in it.
  rmSync(journalOf(gateway), { force: true });
  return { member, gateway };
}

const journalOf = (namespace: Namespace): string =>
  `${STATE_DIRECTORY}/host-${namespace.inside(() => statSync('/proc/thread-self/ns/net').ino)}.json`;

/** Everything in a namespace that the host code can change. */
function situation(gateway: Namespace): string {
  const sysctls =
    '/proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv[46]/conf/*/forwarding /proc/sys/net/ipv6/conf/*/accept_ra';
  const script = `ip -o address | sed 's/ *valid_lft.*//'; ip route show table all; ip -6 route show table all;
    ip -o link | sed 's/ qlen.*//; s/@[^:]*//'; nft list ruleset; grep -H . ${sysctls}; ls /run/lametun 2>/dev/null | grep host-$(stat -Lc %i /proc/self/ns/net); true`;
  return gateway
    .run('sh', ['-c', script])
    .replaceAll('vpn9', 'tun0')
    .split('\n')
    .filter((line) => !/fe80|ff00::|multicast|anycast/.test(line))
    .sort()
    .join('\n');
}

/** Changes by other programs; all of them are repaired. */
const INTERFERENCE: readonly (readonly [what: string, command: string, afterwards?: string])[] = [
  ['an IPv4 address is deleted', 'ip address del 10.7.0.1/16 dev tun0'],
  ['an IPv6 address is deleted', 'ip address del fd00::1/64 dev tun0'],
  ['all addresses are flushed', 'ip address flush dev tun0'],
  ['IPv6 is disabled on the device', 'sysctl -qw net.ipv6.conf.tun0.disable_ipv6=1'],
  ['an IPv4 route is deleted', 'ip route del 10.99.0.0/24'],
  ['an IPv6 route is deleted', 'ip route del fd99::/64'],
  [
    'all routes are flushed',
    'ip route flush dev tun0 scope link proto boot; ip -6 route flush dev tun0 proto boot',
  ],
  ['an IPv4 route leads to another device', 'ip route replace 10.99.0.0/24 dev lan1'],
  ['an IPv6 route leads to another device', 'ip route replace fd99::/64 dev lan1'],
  ['a route becomes a blackhole', 'ip route replace blackhole 10.99.0.0/24'],
  ['the device is set down', 'ip link set tun0 down'],
  ['the device is set down and up', 'ip link set tun0 down; ip link set tun0 up'],
  ['the device gets another MTU', 'ip link set tun0 mtu 1300'],
  [
    'the device is renamed',
    'ip link set tun0 down; ip link set tun0 name vpn9; ip link set vpn9 up',
    'ip link set vpn9 down; ip link set vpn9 name tun0',
  ],
  ['all rules are flushed', 'nft flush ruleset'],
  [
    'a firewall is reloaded',
    `printf '%s\\n' 'flush ruleset' 'table inet filter { chain input { type filter hook input priority filter; }; }' | nft -f -; nft delete table inet filter`,
  ],
  ['the table is deleted', `nft delete table ${TABLE}`],
  ['the table is emptied', `nft flush table ${TABLE}`],
  ['the table is disabled', `nft add table ${TABLE} '{ flags dormant; }'`],
  ['the table is replaced', `nft delete table ${TABLE}; nft add table ${TABLE}`],
  ['a chain is deleted', `nft flush chain ${TABLE} arriving; nft delete chain ${TABLE} arriving`],
  ['a chain is emptied', `nft flush chain ${TABLE} forward`],
  ['a chain gets another policy', `nft chain ${TABLE} postrouting '{ policy drop; }'`],
  ['a rule is inserted first', `nft insert rule ${TABLE} arriving accept`],
  [
    'a rule is deleted',
    `nft delete rule ${TABLE} arriving handle $(nft -a list chain ${TABLE} arriving | sed -n 's/.* drop # handle //p' | tail -1)`,
  ],
  ['a set is emptied', `nft flush set ${TABLE} shared4`],
  ['a set gets another element', `nft add element ${TABLE} shared4 '{ 192.168.8.0/24 }'`],
  ['a set loses an element', `nft delete element ${TABLE} outside '{ "wan0" }'`],
  ['IPv4 forwarding is disabled', 'sysctl -qw net.ipv4.ip_forward=0'],
  ['IPv6 forwarding is disabled', 'sysctl -qw net.ipv6.conf.all.forwarding=0'],
  ['forwarding from the device is disabled', 'sysctl -qw net.ipv4.conf.tun0.forwarding=0'],
  [
    'a network manager takes the device over',
    'ip address flush dev tun0; ip link set tun0 down; ip link set tun0 mtu 1500; ip link set tun0 up',
  ],
  [
    'a firewall and all settings are reloaded',
    'nft flush ruleset; sysctl -qw net.ipv4.ip_forward=0 net.ipv6.conf.all.forwarding=0',
  ],
  [
    'there are more changes than the kernel can report',
    `for way in add del; do for i in $(seq 1000); do echo "address $way 10.55.$((i / 250)).$((i % 250))/32 dev lan1"; done; done |
       ip -batch -; ip route del 10.99.0.0/24`,
  ],
];

/** How soon after an event a repair is promised, milliseconds. */
const PROMISE = 2_000;
/**
 * The allowance for busy machines, milliseconds. It is shorter than the interval of periodic checks, so a change that only
 * such a check finds is repaired too late.
 */
const SLACK = 6_000;
/** A machine that reads its state slowly is slow in everything: the limit also allows for this many readings. */
const READINGS = 6;

const OPTIONS = { device: 'tun0', staysBehind: true } as const;

/** Starts a continuous ping. @returns the number of replies so far */
function traffic(t: TestContext, from: Namespace): () => number {
  const child = from.spawn('ping', ['-i0.05', '-n', SHARED[0]], { stdio: ['ignore', 'pipe', 'ignore'] });
  t.after(() => child.kill('SIGKILL'));
  let answers = 0;
  child.stdout!.setEncoding('utf8').on('data', (text: string) => {
    answers += text.split('bytes from').length - 1;
  });
  return () => answers;
}

const reaches = (from: Namespace, addresses: readonly string[]): boolean[] =>
  addresses.map((to) => from.inside(() => spawnSync('ping', ['-c1', '-W1', '-n', to]).status === 0));

test('changes to a gateway by other programs are repaired at once, while traffic continues', {
  timeout: 300_000,
}, async (t) => {
  if (!needs(t, 'netns', 'nft', 'ping')) return;
  const { member, gateway } = site(t);
  const before = situation(gateway);
  const messages: string[] = [];
  const start = (): Host => {
    const made = gateway.inside(
      () => new Host({ ...OPTIONS, desired: () => DESIRED, tell: (message) => messages.push(message) }),
    );
    gateway.inside(() => made.reconcile());
    assert.equal(made.failure, undefined);
    return made;
  };
  let host = start();
  t.after(() => host.stop());
  const answers = traffic(t, member);
  await until('traffic', () => answers() > 3);
  const wanted = situation(gateway);
  let readingTook = 0;
  const isRepaired = (): boolean => {
    const began = performance.now();
    const isSo = situation(gateway) === wanted;
    readingTook = performance.now() - began;
    return isSo;
  };
  let inRow = 0;
  for (const [what, command, afterwards] of INTERFERENCE) {
    // Start afresh after two changes: a conflict with a program that repeats its change is another test.
    if (inRow++ % 2 === 0) {
      host.stop();
      assert.equal(situation(gateway), before, `before: ${what}`);
      host = start();
    }
    messages.length = 0;
    await until(`the desired state before: ${what}`, isRepaired);
    const patience = PROMISE + SLACK + READINGS * readingTook;
    gateway.run('sh', ['-c', command]);
    const began = performance.now();
    await until(`the repair after: ${what}; ${messages.join()}`, isRepaired, patience);
    t.diagnostic(`${what}: ${Math.round(performance.now() - began)} ms; ${messages.join(' | ')}`);
    assert.ok(messages.length > 0, `the change is reported: ${what}`);
    const seen = answers();
    await until(`traffic after: ${what}`, () => answers() > seen);
    assert.deepEqual(host.warnings(), []);
    if (afterwards === undefined) continue;
    gateway.run('sh', ['-c', afterwards]);
    await until(`the repair after undoing: ${what}`, isRepaired, patience);
  }
  assert.deepEqual(reaches(member, [...SHARED, ...NOT_SHARED]), [true, true, false, false]);
  host.stop();
  assert.equal(situation(gateway), before, 'the state is as it was at the start');
});

/** A process that keeps the gateway in the desired state until it is killed, and prints its warnings. */
async function hostProcess(t: TestContext, gateway: Namespace): Promise<Running> {
  const module = new URL('../../src/linux/host/host.js', import.meta.url).href;
  const script = `
    const { Host } = await import(${JSON.stringify(module)});
    const bytes = (value) => Array.isArray(value) ? Uint8Array.from(value) : value;
    const desired = JSON.parse(${JSON.stringify(JSON.stringify(DESIRED, (_, value) => (value instanceof Uint8Array ? [...value] : value)))},
      (key, value) => key === 'address' ? bytes(value) : value);
    const host = new Host({ ...${JSON.stringify(OPTIONS)}, desired: () => desired });
    host.reconcile();
    console.log(host.failure?.message ?? 'ready');
    setInterval(() => console.log('warnings: ' + host.warnings().join(' | ')), 200);`;
  const child = gateway.spawn(process.execPath, ['--input-type=module', '-e', script], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  t.after(() => child.kill('SIGKILL'));
  const running = new Running(child, 'a host');
  await running.says(/^ready$/m);
  return running;
}

test('the next process restores what a killed one changed, or takes it over and restores it at its end', async (t) => {
  if (!needs(t, 'netns', 'nft')) return;
  const { gateway } = site(t);
  gateway.ip(['link set tun0 mtu 1280']);
  const before = situation(gateway);
  for (const next of [{}, DESIRED]) {
    const killed = await hostProcess(t, gateway);
    const during = situation(gateway);
    await killed.stop('SIGKILL');
    assert.equal(situation(gateway), during);
    gateway.inside(() => {
      const host = new Host({ ...OPTIONS, desired: () => next });
      host.reconcile();
      host.stop();
    });
    assert.equal(situation(gateway), before);
  }
});

test('a program that removes the rules again and again is named, and forwarding stops', async (t) => {
  if (!needs(t, 'netns', 'nft', 'ping')) return;
  const { member, gateway } = site(t);
  const host = gateway.inside(() => new Host({ ...OPTIONS, desired: () => DESIRED }));
  t.after(() => host.stop());
  gateway.inside(() => host.reconcile());
  const isThere = (): boolean => gateway.run('nft', ['list', 'tables']).includes('lametun_tun0');
  for (let i = 0; host.warnings().length === 0; i++) {
    assert.ok(i < 10, 'lametun gives up');
    gateway.run('nft', ['flush', 'ruleset']);
    await until('a repair or a warning', () => isThere() || host.warnings().length > 0);
  }
  assert.match(
    host.warnings().join(),
    /The nft table lametun_tun0 keeps being changed by another program \(nft, process \d+.*; the networks behind/,
  );
  assert.equal(
    gateway.run('sysctl', ['-n', 'net.ipv4.ip_forward', 'net.ipv6.conf.all.forwarding']),
    '0\n0\n',
  );
  assert.deepEqual(reaches(member, [...SHARED, ...NOT_SHARED]), [false, false, false, false]);
});

test('without nft nothing is forwarded, until it is back', async (t) => {
  if (!needs(t, 'netns', 'nft', 'nsenter')) return;
  const { gateway } = site(t);
  const host = await hostProcess(t, gateway);
  const inItsMounts = (...command: string[]): void => {
    const { status, stderr } = spawnSync('nsenter', ['-t', `${host.pid}`, '-m', ...command], {
      encoding: 'utf8',
    });
    assert.equal(status, 0, stderr);
  };
  const forwards = (): boolean => gateway.run('sysctl', ['-n', 'net.ipv4.ip_forward']).trim() === '1';
  assert.ok(forwards());
  inItsMounts('mount', '-t', 'tmpfs', 'tmpfs', '/usr/sbin');
  gateway.run('nft', ['flush', 'ruleset']);
  await until('forwarding to be off', () => !forwards());
  await host.says(/Cannot set the nft table lametun_tun0: forwarding needs the program nft/);
  inItsMounts('umount', '/usr/sbin');
  await until('forwarding to be on', forwards);
  assert.match(gateway.run('nft', ['list', 'tables']), /lametun_tun0/);
});

test('a machine that forwards anyway stops IPv4 forwarding from the tunnel when its rules cannot be kept', async (t) => {
  if (!needs(t, 'netns', 'nft', 'ping')) return;
  const { member, gateway } = site(t);
  gateway.sysctl({ 'net.ipv4.ip_forward': 1, 'net.ipv6.conf.all.forwarding': 1 });
  gateway.ip(['address add 10.7.0.1/16 dev tun0', 'address add fd00::1/64 dev tun0 nodad']);
  const before = situation(gateway);
  assert.deepEqual(reaches(member, NOT_SHARED), [true, true], 'without lametun');
  const desired = { ...DESIRED, forwarding: { destinations: [] } };
  const host = gateway.inside(() => new Host({ ...OPTIONS, desired: () => desired }));
  t.after(() => host.stop());
  gateway.inside(() => host.reconcile());
  assert.deepEqual(reaches(member, NOT_SHARED), [false, false]);
  while (host.warnings().length === 0) {
    gateway.run('nft', ['flush', 'ruleset']);
    const isThere = (): boolean => gateway.run('nft', ['list', 'tables']).includes('lametun_tun0');
    await until('a repair or a warning', () => isThere() || host.warnings().length > 0);
  }
  assert.match(host.warnings().join(), /members may reach everything behind it by IPv6;/);
  assert.deepEqual(reaches(member, NOT_SHARED.slice(0, 1)), [false]);
  assert.equal(gateway.run('sysctl', ['-n', 'net.ipv4.ip_forward']), '1\n', 'other forwarding continues');
  host.stop();
  assert.equal(situation(gateway), before);
});

test('IPv4 forwarding from the tunnel also stops if another program enables forwarding later', async (t) => {
  if (!needs(t, 'netns', 'nft', 'ping')) return;
  const { member, gateway } = site(t);
  gateway.sysctl({ 'net.ipv4.ip_forward': 0 }); // a new namespace inherits it from the first one
  const desired = { ...DESIRED, forwarding: { destinations: [] } };
  const host = gateway.inside(() => new Host({ ...OPTIONS, desired: () => desired }));
  t.after(() => host.stop());
  gateway.inside(() => host.reconcile());
  while (host.warnings().length === 0) {
    gateway.run('nft', ['flush', 'ruleset']);
    const isThere = (): boolean => gateway.run('nft', ['list', 'tables']).includes('lametun_tun0');
    await until('a repair or a warning', () => isThere() || host.warnings().length > 0);
  }
  gateway.sysctl({ 'net.ipv4.ip_forward': 1 });
  const own = (): string => gateway.run('sysctl', ['-n', 'net.ipv4.conf.tun0.forwarding']);
  await until('forwarding from the tunnel to stop', () => own() === '0\n', 10_000);
  assert.deepEqual(reaches(member, NOT_SHARED.slice(0, 1)), [false]);
  assert.equal(gateway.run('sysctl', ['-n', 'net.ipv4.ip_forward']), '1\n', 'other forwarding continues');
  host.stop();
  assert.equal(gateway.run('sysctl', ['-n', 'net.ipv4.ip_forward']), '1\n', 'also after the stop');
});

test('forwarding that another program enables while the rules cannot be kept stays, and is not reported as restored', async (t) => {
  if (!needs(t, 'netns', 'nft')) return;
  const { gateway } = site(t);
  const messages: string[] = [];
  const tell = (message: string): void => void messages.push(message);
  const host = gateway.inside(() => new Host({ ...OPTIONS, tell, desired: () => DESIRED }));
  t.after(() => host.stop());
  gateway.inside(() => host.reconcile());
  const value = (name: string): string => gateway.run('sysctl', ['-n', name]).trim();
  while (host.warnings().length === 0) {
    gateway.run('nft', ['flush', 'ruleset']);
    const isThere = (): boolean => gateway.run('nft', ['list', 'tables']).includes('lametun_tun0');
    await until('a repair or a warning', () => isThere() || host.warnings().length > 0);
  }
  await until('forwarding to be off', () => value('net.ipv4.ip_forward') === '0');
  assert.doesNotMatch(host.warnings().join(), /for other programs/);
  gateway.sysctl({ 'net.ipv4.ip_forward': 1, 'net.ipv6.conf.all.forwarding': 1 });
  await until(
    'forwarding from the tunnel to stop',
    () => value('net.ipv4.conf.tun0.forwarding') === '0',
    10_000,
  );
  assert.equal(value('net.ipv4.ip_forward'), '1');
  assert.match(host.warnings().join(), /forwards IPv6 for other programs/);
  assert.doesNotMatch(messages.join('\n'), /(Restored|sysctl net\/ipv4\/ip_forward keeps)[^\n]*ip_forward/);
  host.stop();
  assert.equal(value('net.ipv4.ip_forward'), '1', 'also after the stop');
});

test('while the journal cannot be written nothing is forwarded, and the process keeps running', async (t) => {
  if (!needs(t, 'netns', 'nft')) return;
  const { gateway } = site(t);
  const before = situation(gateway);
  const host = gateway.inside(() => new Host({ ...OPTIONS, desired: () => DESIRED }));
  t.after(() => host.stop());
  gateway.inside(() => host.reconcile());
  const forwards = (): boolean => gateway.run('sysctl', ['-n', 'net.ipv4.ip_forward']).trim() === '1';
  assert.ok(forwards());
  // A directory in place of the temporary file makes writing fail, as on a full disk.
  const obstacle = `${journalOf(gateway)}.new`;
  mkdirSync(obstacle);
  try {
    gateway.run('nft', ['flush', 'ruleset']);
    await until('forwarding to be off', () => !forwards());
    assert.match(host.warnings().join(), /Cannot set the nft table lametun_tun0: .*host-/);
  } finally {
    rmdirSync(obstacle);
  }
  await until('forwarding to be on', forwards);
  host.stop();
  assert.equal(situation(gateway), before);
});

test('a stranger is also kept out on the uplink that the default route moves to', async (t) => {
  if (!needs(t, 'netns', 'nft', 'ping')) return;
  const { gateway } = site(t);
  const host = gateway.inside(() => new Host({ ...OPTIONS, desired: () => DESIRED }));
  t.after(() => host.stop());
  gateway.inside(() => host.reconcile());
  const outside = (): string =>
    gateway.run('nft', ['list', 'set', 'inet', 'lametun_tun0', 'outside']).replace(/\s+/g, ' ');
  assert.match(outside(), /elements = \{ "wan0" \}/);
  gateway.ip(['route replace default via 198.51.100.10']);
  await until('the new uplink to be outside', () => outside().includes('"wan1"'));
  assert.match(outside(), /"wan0"/, 'the previous uplink may be used again');
  gateway.ip(['route add default via 192.168.8.10 table 100']);
  await until('an uplink that only routing rules use to be outside', () => outside().includes('"lan1"'));
});

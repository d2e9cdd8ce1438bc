import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, type TestContext, test } from 'node:test';
import { readRecording } from '../../src/demo/demo.js';
import { SCENES } from '../../src/demo/events.js';
import { needs } from '../kit/requirements.js';
import { DemoProcess } from './demo-process.js';

/** Names that only the demo uses, because other tests run at the same time. */
const OURS = ['laptop', 'home-router', 'internet', 'gateway', 'server', 'home0', 'office', 'probe', 'probe0'];

/** What a run left behind. */
function leftovers(demo: DemoProcess): string[] {
  const list = (folder: string): string[] => (existsSync(folder) ? readdirSync(folder) : []);
  const named = ['/run/netns', '/sys/class/net'].flatMap(list).filter((name) => OURS.includes(name));
  const mounted = readFileSync('/proc/self/mounts', 'utf8').split('\n');
  return [
    ...named,
    ...mounted.filter((line) => OURS.some((name) => line.includes(`/run/netns/${name} `))),
    ...list(demo.temporary),
    ...demo.remains().map(({ command }) => command),
  ];
}

/** Runs a command in new namespaces, and fails if it changes their state. */
const UNTOUCHED = `
state() {
  ip -d address; ip route show table all; ip -6 route show table all; ip rule; nft list ruleset
  cat /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv6/conf/all/forwarding; ls -R /run
  grep -v ' nsfs ' /proc/self/mounts # those of other tests come and go
}
mount -t tmpfs tmpfs /run; ip link set lo up
before=$(state 2>&1); "$@"; status=$?; after=$(state 2>&1)
[ "$before" = "$after" ] || { echo "before: $before" >&2; echo "after: $after" >&2; exit 99; }
exit $status`;

/** ping waits only 0.2 s for the last reply. */
const PINGED = /3 packets transmitted, [23] received/;

const NOTHING_LEFT = 'Everything built here is gone.';

/** The first test records its run here for the second one. */
const recorded = join(mkdtempSync(join(tmpdir(), 'lametun-recording-')), 'demo.json');
after(() => rmSync(dirname(recorded), { recursive: true }));

test('the demo shows every scene, and leaves nothing behind', async (t) => {
  if (!needs(t, 'demo')) return;
  const alone = process.geteuid?.() === 0 ? ['unshare', '--net', '--mount', 'sh', '-c', UNTOUCHED, 'sh'] : [];
  const start = Date.now();
  const demo = new DemoProcess(['--record', recorded], { words: alone });
  assert.equal(await demo.end(), 0, demo.stderr);
  assert.ok(Date.now() - start < 50_000, 'no reading pauses when the output is a pipe');
  assert.equal(demo.stderr, '');
  assert.deepEqual(leftovers(demo), []);

  const text = demo.stdout;
  for (let i = 1; i <= SCENES.length; i++) assert.match(text, new RegExp(`^── ${i}/${SCENES.length}  `, 'm'));
  for (const line of text.split('\n')) assert.ok([...line].length <= 80, line);
  assert.ok(!text.includes('\x1b'), 'no escape sequences in a pipe');
  assert.match(text, /Destination Net Unreachable/);
  assert.match(text, PINGED);
  assert.match(text, /The launch is on Friday/);
  assert.match(text, /UDP {2}port (?!1234 )\d+ → port 1234/, 'the NAT changed the port');
  assert.match(text, /It is, byte for byte, the packet of station 1/);
  assert.match(text, /That is the sender at station 3/);
  assert.match(text, /Cookie: sessio/);
  assert.match(text, /^ {2}1500 +1440 +1468 +1 datagram of 1500 bytes$/m);
  assert.match(text, /^ {2}1500 +1441 +1469 +2 fragments of 1500 \+ 21 bytes$/m);
  assert.match(text, /^ {2}1468 +1441 +1469 +nothing: refused$/m);
  assert.match(text, /local error: message too long, mtu=1468/);
  assert.match(text, /tun type tun .* user \w+$/m);
  const [, udp, tcp] =
    /^ {2}UDP +[\d.]+ Mbit\/s +(\d+) ms .*\n {2}TCP +[\d.]+ Mbit\/s +(\d+) ms /m.exec(text) ?? [];
  assert.ok(Number(udp) >= 20 && Number(tcp) > Number(udp), `ping: ${udp} ms in UDP, ${tcp} ms in TCP`);
  const encrypted = text.slice(text.indexOf('the request in WireGuard'));
  assert.match(encrypted, /^ {2}0010 .* 0400 0000 /m, 'transport data');
  assert.ok(text.includes('GET /plans') && !/GET|HTTP|plans/.test(encrypted));
  assert.ok(!text.includes('checksum wrong'));
  assert.ok(text.includes(NOTHING_LEFT));
});

test('the recording has the scenes and kinds of events of a live run', (t) => {
  if (!needs(t, 'demo')) return;
  const live = JSON.parse(readFileSync(recorded, 'utf8')) as ReturnType<typeof readRecording>;
  const outline = ({ events }: typeof live): string[] =>
    events.map((event) => (event.kind === 'scene' ? `scene ${event.id}: ${event.title}` : event.kind));
  assert.deepEqual(outline(readRecording()), outline(live), 'record it again, see CONTRIBUTING.md');
});

test('without root the demo runs in a user namespace', async (t) => {
  if (!needs(t, 'demo')) return;
  if (process.geteuid?.() !== 0) return; // all tests of this file run without root then
  if (!needs(t, 'setpriv', 'unshare', 'mknod')) return;
  // Every user can read this copy, and open this TUN device.
  const folder = mkdtempSync(join(tmpdir(), 'lametun-nobody-'));
  t.after(() => rmSync(folder, { recursive: true }));
  chmodSync(folder, 0o755);
  cpSync('dist/src', join(folder, 'dist/src'), { recursive: true });
  cpSync('package.json', join(folder, 'package.json'));
  mkdirSync(join(folder, 'node_modules'));
  for (const name of ['@koromix', '@noble', 'commander', 'picocolors']) {
    cpSync(join('node_modules', name), join(folder, 'node_modules', name), { recursive: true });
  }
  execFileSync('chmod', ['-R', 'a+rX', folder]);
  const asNobody = 'exec setpriv --reuid=65534 --regid=65534 --clear-groups --bounding-set=-all "$@"';
  const node = 'mount -t tmpfs tmpfs /dev/net && mknod -m 666 /dev/net/tun c 10 200';
  const words = ['unshare', '--mount', 'sh', '-c', `${node} && ${asNobody}`, 'sh'];
  const start = { words, main: join(folder, 'dist/src/cli/main.js'), env: { HOME: '/nonexistent' } };
  const demo = new DemoProcess([], start);
  assert.equal(await demo.end(), 0, demo.stderr);
  assert.match(demo.stdout, PINGED);
  assert.ok(demo.stdout.includes(NOTHING_LEFT));
  assert.ok(!demo.stdout.includes('recording'), demo.stderr);
  assert.deepEqual(leftovers(demo), []);
});

/** From files, or from a single executable. */
const DEMO = /^\S*(node \S*main\.js|lametun\S* --program=cli\/main) demo/;
const STOP = /Enter: next/;

/** A run on a terminal, in the middle of the lesson with the tunnel up. */
async function halfway(): Promise<DemoProcess> {
  const demo = new DemoProcess(['--step'], { terminal: true });
  for (let stops = 1; stops <= 4; stops++) {
    await demo.shows(STOP, stops);
    demo.enter();
  }
  await demo.shows(STOP, 5);
  assert.match(demo.stdout, /── 5\//);
  assert.ok(demo.remains().length > 7, 'the tunnel is up');
  return demo;
}

/** Asserts that `stty -a` at the end shows the usual terminal settings. */
function assertRestored(demo: DemoProcess): void {
  for (const setting of ['isig', 'icanon', 'echo', 'iexten', 'icrnl', 'opost']) {
    assert.match(demo.stdout, new RegExp(`(?<=[\\s;])${setting}\\b`), demo.stdout.slice(-1000));
  }
}

for (const [signal, status] of [
  ['SIGINT', 130],
  ['SIGTERM', 143],
  ['SIGHUP', 129],
  ['SIGKILL', 137],
] as const) {
  test(`${signal} ends the demo at once, with status ${status}, and nothing is left`, async (t) => {
    if (!needs(t, 'demo', 'script')) return;
    const demo = await halfway();
    process.kill(demo.pidOf(DEMO), signal);
    assert.equal(await demo.end(), status);
    if (signal !== 'SIGKILL') assertRestored(demo);
    const took = await demo.vanishes();
    // The demo cleans up before it exits; after SIGKILL the kernel does.
    assert.ok(took < (signal === 'SIGKILL' ? 20_000 : 500), `${took} ms`);
    assert.deepEqual(leftovers(demo), []);
  });
}

for (const [what, name] of [
  ['the process inside', /^\S*(node \S*inside\.js|lametun\S* --program=demo\/inside)/],
  ['unshare', /^unshare /],
] as const) {
  test(`when ${what} is killed, the demo reports it with status 1, and nothing is left`, async (t) => {
    if (!needs(t, 'demo', 'script')) return;
    const demo = await halfway();
    process.kill(demo.pidOf(name), 'SIGKILL');
    assert.equal(await demo.end(), 1);
    assert.match(demo.stdout, /lametun demo: the demo's inner process ended too early \([^\n]+\)/);
    assertRestored(demo);
    await demo.vanishes();
    assert.deepEqual(leftovers(demo), []);
  });
}

test('on a terminal, space pauses and continues the lesson, and Enter shows the next screen', async (t) => {
  if (!needs(t, 'demo', 'script')) return;
  const demo = new DemoProcess([], { terminal: true });
  await demo.shows(/\d s {4}space: pause {4}Enter: next/);
  assert.match(demo.stdout, /── 1\//);
  demo.type(' ');
  await demo.shows(/paused {4}space: continue/);
  demo.type(' ');
  await demo.shows(/paused[\s\S]*\d s {4}space: pause/);
  demo.enter();
  await demo.shows(/── 2\//);
  demo.type('\x03');
  assert.equal(await demo.end(), 130);
  assert.ok(!demo.stdout.includes('── 3/'));
  assertRestored(demo);
  await demo.vanishes();
  assert.deepEqual(leftovers(demo), []);
});

test('--step shows every scene, one screen at a time; Ctrl-C ends --keep', async (t) => {
  if (!needs(t, 'demo', 'script')) return;
  const demo = new DemoProcess(['--step', '--keep'], { terminal: true });
  const end = 'Enter or Ctrl-C';
  for (let stops = 1; ; stops++) {
    await demo.shows(new RegExp(`${STOP.source}|${end}`), stops);
    if (demo.stdout.includes(end)) break;
    demo.enter();
  }
  const screens = demo.stdout.split('\x1b[H'); // a screen begins with the cursor at home
  assert.ok(screens.length > SCENES.length);
  for (const screen of screens.slice(0, -1)) {
    const shown = screen.slice(0, screen.indexOf('\x1b[24;1H')); // the row that shows the keys
    assert.ok(shown.split('\n').length <= 24, shown);
  }
  for (let i = 1; i <= SCENES.length; i++)
    assert.ok(demo.stdout.includes(`── ${i}/${SCENES.length}`), `${i}`);
  demo.type('\x03');
  assert.equal(await demo.end(), 130, demo.stdout.slice(-1000));
  assertRestored(demo);
  assert.deepEqual(leftovers(demo), []);
});

test('--step is refused without a terminal', async () => {
  const demo = new DemoProcess(['--step']);
  assert.equal(await demo.end(), 2);
  assert.match(demo.stderr, /^lametun demo: --step needs a terminal[^\n]*\n$/);
  assert.equal(demo.stdout, '');
});

test('the demo ends silently when the reader of its output goes away', async (t) => {
  if (!needs(t, 'demo')) return;
  const demo = new DemoProcess([]);
  await demo.shows(/^── 1\//m);
  demo.child.stdout!.destroy();
  assert.equal(await demo.end(), 0);
  assert.equal(demo.stderr, '');
  await demo.vanishes();
});

test('tshark reads what --pcap writes: one interface per station, and the packets of the lesson', async (t) => {
  if (!needs(t, 'demo', 'tshark')) return;
  const folder = mkdtempSync(join(tmpdir(), 'lametun-pcap-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const file = join(folder, 'demo.pcapng');
  const start = Date.now();
  const demo = new DemoProcess(['--pcap', file]);
  assert.equal(await demo.end(), 0, demo.stderr);
  assert.ok(demo.stdout.includes(`wireshark ${AS_GRE.join(' ')} ${file}\n`));
  const rows = tshark(file, [
    'frame.interface_name',
    'ip.src',
    'ip.dst',
    'udp.dstport',
    'icmp.seq',
    'http.request.uri',
  ]);
  const at = (station: string): string[][] => rows.filter(([name]) => name === station);
  const stations = ['home-lan', 'internet', 'office-lan', 'laptop-tun0', 'gateway-tun0'];
  assert.deepEqual(new Set(rows.map(([name]) => name)), new Set(stations));
  for (const tun of ['laptop-tun0', 'gateway-tun0']) {
    assert.ok(
      at(tun).some((row) => row.slice(1).join() === '10.0.0.2,192.168.50.10,,2,'),
      `ping at ${tun}`,
    );
    assert.ok(
      at(tun).some((row) => row[5] === '/plans.txt'),
      `HTTP at ${tun}`,
    );
  }
  assert.ok(at('home-lan').some((row) => row.slice(1, 4).join() === '192.168.1.23,203.0.113.5,1234'));
  assert.ok(at('internet').some((row) => row.slice(1, 4).join() === '198.51.100.7,203.0.113.5,1234'));
  assert.ok(at('office-lan').some((row) => row[5] === '/plans.txt'));
  const wrapped = tshark(file, ['frame.interface_name', 'ip.src', 'icmp.seq'], 'udp.dstport == 1234', AS_GRE);
  for (const [station, sender] of [
    ['home-lan', '192.168.1.23'],
    ['internet', '198.51.100.7'],
  ]) {
    assert.ok(
      wrapped.some((row) => row.join(';') === `${station};${sender},10.0.0.2;2`),
      `wrapped at ${station}`,
    );
  }
  const times = tshark(file, ['frame.time_epoch']).map(([time]) => Number(time));
  assert.ok(
    times.every((time, i) => i === 0 || time >= times[i - 1]! - 1),
    'in order, with sensible times',
  );
  assert.ok(times[0]! * 1000 > start - 1000 && times[0]! * 1000 < Date.now() + 1000);
});

/** The four bytes before the inner packet look like a GRE header without options, RFC 2784: 0, EtherType. */
const AS_GRE = ['-d', 'udp.port==1234,gre'];

function tshark(
  file: string,
  fields: readonly string[],
  filter = '',
  more: readonly string[] = [],
): string[][] {
  const wanted = fields.flatMap((field) => ['-e', field]);
  // tshark would take one TCP segment at three stations for retransmissions.
  const apart = ['-o', 'tcp.analyze_sequence_numbers:FALSE'];
  const args = [
    '-n',
    '-r',
    file,
    ...apart,
    ...more,
    '-Y',
    filter,
    '-T',
    'fields',
    '-E',
    'separator=;',
    ...wanted,
  ];
  return execFileSync('tshark', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] })
    .trimEnd()
    .split('\n')
    .map((line) => line.split(';'));
}

test('--keep leaves the network running and shows how to enter each host; Enter ends it', async (t) => {
  if (!needs(t, 'demo', 'nsenter')) return;
  const demo = new DemoProcess(['--keep']);
  await demo.shows(/Enter or Ctrl-C/);
  const commands = new Map(
    [...demo.stdout.matchAll(/^ {4}([a-z ]+): +((?:sudo )?nsenter .*) bash$/gm)].map(([, host, words]) => [
      host!,
      words!,
    ]),
  );
  assert.deepEqual([...commands.keys()], ['laptop', 'home router', 'internet', 'gateway', 'server']);
  const inside = (host: string, command: string): string =>
    execFileSync('sh', ['-c', `${commands.get(host)!.replace(/^sudo /, '')} ${command}`], {
      encoding: 'utf8',
    });
  assert.match(inside('laptop', 'ping -c 1 192.168.50.10'), /1 received/);
  assert.match(inside('server', 'ip address'), /192\.168\.50\.10/);
  assert.equal(demo.child.exitCode, null);
  demo.enter();
  assert.equal(await demo.end(), 0, demo.stderr);
  assert.ok(demo.stdout.includes(NOTHING_LEFT));
  assert.deepEqual(leftovers(demo), []);
});

/** Starts the demo after a shell command has removed something that it needs. */
function without(t: TestContext, taken: string, args: readonly string[] = []): DemoProcess | undefined {
  if (!needs(t, 'root', 'netns', 'unshare', 'setpriv')) return undefined;
  return new DemoProcess(args, { words: ['unshare', '--mount', 'sh', '-c', `${taken} "$@"`, 'sh'] });
}

const NO_TUN = 'mount -t tmpfs tmpfs /dev/net && exec';
const NO_NFT = 'for nft in /usr/sbin/nft /sbin/nft; do mount --bind /dev/null $nft; done; exec';
const NO_NAMESPACES = 'exec setpriv --bounding-set -sys_admin';

test('where the demo cannot run, it names in one line what is missing, and plays a recording', async (t) => {
  const demo = without(t, NO_TUN);
  if (demo === undefined) return;
  assert.equal(await demo.end(), 0);
  assert.match(demo.stderr, /^lametun demo: [^\n]*\/dev\/net\/tun[^\n]*modprobe tun[^\n]*\n$/);
  assert.match(demo.stdout, /^ {2}This is a recording, made on \d{4}-\d\d-\d\d/);
  for (let i = 1; i <= SCENES.length; i++) {
    assert.match(demo.stdout, new RegExp(`^── ${i}/${SCENES.length} .*\\(recorded\\)`, 'm'));
  }
  assert.match(demo.stdout, /That was a recording\./);
});

for (const [what, taken, hint] of [
  ['no nft', NO_NFT, /no nft here: apt install nftables/],
  [
    'no namespaces',
    NO_NAMESPACES,
    /no network namespaces \(unshare: [^\n]*not permitted\): a container needs/,
  ],
] as const) {
  test(`with ${what}, the line says what to do`, async (t) => {
    if (!needs(t, 'demo')) return;
    const demo = without(t, taken, ['--keep']); // without the recording
    if (demo === undefined) return;
    assert.equal(await demo.end(), 1);
    assert.match(demo.stderr, hint);
    assert.equal(demo.stderr.split('\n').length, 2);
  });
}

test('--keep is refused where the demo cannot run live', async (t) => {
  const demo = without(t, NO_TUN, ['--keep']);
  if (demo === undefined) return;
  assert.equal(await demo.end(), 1);
  assert.match(demo.stderr, /^lametun demo: --keep needs a live run[^\n]*modprobe tun[^\n]*\n$/);
  assert.equal(demo.stdout, '');
});

test('an invalid option ends the demo with one line and status 2, an unwritable file with status 1', async (t) => {
  for (const args of [['--nonsense'], ['--pcap'], ['home']]) {
    const demo = new DemoProcess(args);
    assert.equal(await demo.end(), 2, args.join(' '));
    assert.match(demo.stderr, /^lametun[^\n]*\n$/);
    assert.equal(demo.stdout, '');
  }
  if (!needs(t, 'demo')) return;
  const demo = new DemoProcess(['--pcap', '/nonexistent/demo.pcapng']);
  assert.equal(await demo.end(), 1);
  assert.match(demo.stderr, /^lametun demo: --pcap: [^\n]*\/nonexistent\/demo\.pcapng[^\n]*\n$/);
  assert.equal(demo.stdout, '');
});

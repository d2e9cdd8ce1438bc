import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join as path } from 'node:path';
import { type TestContext, test } from 'node:test';
import { commandGroups } from '../../src/cli/commands.js';
import { LametunError } from '../../src/errors.js';
import { UdpSocket } from '../../src/linux/net/udp.js';
import { Namespace } from '../../src/linux/process/namespace.js';
import { MAIN } from '../kit/lametun.js';
import { needs } from '../kit/requirements.js';

/** Every error is one helpful line. The exit status is 2 for usage errors, 1 for others. */

interface Outcome {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

const lametun = (args: readonly string[]): Outcome =>
  spawnSync(process.execPath, [MAIN, ...args], { encoding: 'utf8', timeout: 60_000 });

function assertOneLine({ status, stdout, stderr }: Outcome, expectedStatus: number, says: RegExp): void {
  assert.match(stderr, /^lametun: [^\n]+\n$/);
  assert.match(stderr, says);
  assert.equal(status, expectedStatus);
  assert.equal(stdout, '');
}

const LISTEN = ['-listen'] as const;
const HELP = / \(lametun --help lists commands and options\)\n$/;

for (const [args, says] of [
  [['-bogus'], /-bogus/],
  [[...LISTEN, '-mtu', '67'], /-mtu 67 .*68 to/],
] as const) {
  test(`usage error: lametun ${args.join(' ')}`, () => {
    const outcome = lametun(args);
    assertOneLine(outcome, 2, says);
    assert.match(outcome.stderr, HELP);
  });
}

for (const args of [['nonsense'], ['demo', '--nonsense'], ['demo', 'nonsense'], ['demo', '--pcap']]) {
  test(`usage error: lametun ${args.join(' ')}`, () =>
    assertOneLine(lametun(args), 2, /nonsense|--pcap|too many arguments/));
}

test('help and version exit with 0', () => {
  for (const args of [['-help'], ['-h'], ['--help'], ['-version'], ['--version']]) {
    const { status, stdout, stderr } = lametun(args);
    assert.equal(status, 0, args.join(' '));
    assert.equal(stderr, '');
    assert.match(stdout, /lametun/);
  }
});

test('a host name that does not resolve', () => {
  // Names under .invalid never resolve, RFC 6761, and a missing name server must not delay the error.
  assertOneLine(lametun(['-server', 'home.invalid']), 1, /cannot resolve "home\.invalid".*\?/);
  const state = path(mkdtempSync(path(tmpdir(), 'lametun-usage-')), 'state');
  assertOneLine(
    lametun(['hub', '--public', 'home.invalid', '--state', state]),
    1,
    /--public home\.invalid: cannot resolve .*check/,
  );
  assert.ok(!existsSync(state));
  rmSync(dirname(state), { recursive: true });
});

for (const [server, says] of [
  ['0.0.0.0', /not the address of one host/],
  ['::', /not the address of one host/],
  ['255.255.255.255', /not the address of one host/],
  ['ff02::1', /not the address of one host/],
  ['fe80::1', /fe80::1%eth0/],
  ['fe80::1%nosuchdevice', /ip link/],
] as const) {
  test(`an address that cannot be a server’s: ${server}`, () =>
    assertOneLine(lametun(['-server', server]), 1, says));
}

test('the error for a port in the server’s name mentions the right option', () => {
  assertOneLine(lametun(['-server', 'vpn.invalid:1234']), 1, /the port is given with -port/);
});

/** A network namespace for a test with an attached device or a port in use. */
function namespace(t: TestContext): Namespace {
  const made = Namespace.create(`u${process.pid.toString(36)}`);
  t.after(() => made.remove());
  return made;
}

/** Runs the program in a namespace until it exits. */
function inside(host: Namespace, args: readonly string[], wrapper: readonly string[] = []): Outcome {
  const [command, ...rest] = [...wrapper, process.execPath, MAIN, ...args];
  return host.inside(() => spawnSync(command!, rest, { encoding: 'utf8', timeout: 60_000 }));
}

test('missing privilege to create a device', (t) => {
  if (!needs(t, 'root', 'tun', 'netns', 'setpriv')) return;
  const wrapper = [
    ...['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups'],
    ...['--inh-caps=-all,+dac_read_search', '--ambient-caps=-all,+dac_read_search'],
  ];
  const outcome = inside(namespace(t), LISTEN, wrapper);
  assertOneLine(
    outcome,
    1,
    /TUNSETIFF tun0: Operation not permitted: needs CAP_NET_ADMIN, or .*ip tuntap add/,
  );
});

test('a device that belongs to another user', (t) => {
  if (!needs(t, 'root', 'tun', 'netns', 'setpriv')) return;
  const host = namespace(t);
  host.ip(['tuntap add dev tun0 mode tun user 65533']);
  const wrapper = [
    ...['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups'],
    ...['--inh-caps=-all,+dac_read_search', '--ambient-caps=-all,+dac_read_search'],
  ];
  assertOneLine(inside(host, LISTEN, wrapper), 1, /tun0: Operation not permitted: needs CAP_NET_ADMIN/);
});

test('a device that is in use', async (t) => {
  if (!needs(t, 'root', 'tun', 'netns')) return;
  const host = namespace(t);
  const other = host.inside(() => spawn(process.execPath, [MAIN, ...LISTEN, '--json']));
  t.after(() => other.kill('SIGKILL'));
  await new Promise((resolve) => other.stdout.once('data', resolve));
  const outcome = inside(host, ['-listen', '-port', '1235']);
  assertOneLine(outcome, 1, /tun0: [^:]*busy[^:]*: another program is attached/i);
});

test('a device that is not a TUN device', (t) => {
  if (!needs(t, 'root', 'tun', 'netns')) return;
  assertOneLine(inside(namespace(t), ['-listen', '-device', 'lo']), 1, /lo: .*it is not a TUN device/);
});

test('a port that is in use', (t) => {
  if (!needs(t, 'root', 'tun', 'netns')) return;
  const host = namespace(t);
  const holder = host.inside(() => UdpSocket.open(1234));
  t.after(() => holder.close());
  assertOneLine(inside(host, LISTEN), 1, /UDP port 1234: Address already in use: .*choose another port/i);
  assert.doesNotMatch(host.run('ip', ['link']), /tun0/);
});

test('a password in the arguments causes a warning that does not repeat it', () => {
  const { stderr, status } = lametun(['hub', '--database', 'postgres://u:very-secret@h/d', '--mtu', '1']);
  assert.match(stderr, /^lametun: warning: other users .*--database-file, PGPASSWORD/);
  assert.match(stderr, /^lametun: --mtu 1: /m);
  assert.doesNotMatch(stderr, /very-secret/);
  assert.equal(status, 2);
  assertOneLine(lametun(['hub', '--database', 'postgres://u@h/d', '--mtu', '1']), 2, /--mtu 1: /);
});

test('a database file must be private, and contain a URL', (t) => {
  const folder = mkdtempSync(path(tmpdir(), 'lametun-usage-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const file = path(folder, 'database');
  const refused = (says: RegExp, ...more: readonly string[]): void =>
    assertOneLine(
      lametun(['hub', '--database-file', file, '--state', path(folder, 'state'), ...more]),
      2,
      says,
    );
  refused(/cannot read --database-file: ENOENT/);
  writeFileSync(file, 'postgres://u:very-secret@h/d\n', { mode: 0o644 });
  refused(/other users can read .*database: run chmod 600/);
  chmodSync(file, 0o600);
  refused(/contradict each other: give one of them/, '--database', 'postgres://u@h/d');
  writeFileSync(file, 'very-secret\n');
  refused(/contains no database URL: write postgres:/);
});

test('an unusable file in the state directory exits with 1, not 2', (t) => {
  const state = mkdtempSync(path(tmpdir(), 'lametun-usage-'));
  t.after(() => rmSync(state, { recursive: true }));
  const up = (expected: number, says: RegExp): void =>
    assertOneLine(lametun(['up', '--state', state]), expected, says);
  up(2, /contains no network/);
  writeFileSync(path(state, 'node.json'), '{}');
  up(1, /node\.json is damaged/);
  rmSync(path(state, 'node.json'));
  writeFileSync(path(state, 'hub.json'), '{');
  up(1, /hub\.json is damaged/);
});

test('every command that uses the state of a newer lametun is refused in one line, and changes nothing', (t) => {
  const state = mkdtempSync(path(tmpdir(), 'lametun-usage-'));
  t.after(() => rmSync(state, { recursive: true }));
  const backup = path(state, 'a.backup');
  for (const [name, content] of [
    ['state.json', '{"version":2,"program":"lametun 0.2.0"}'],
    ['node.json', '{"layout":"new"}'],
    ['hub.json', '{"layout":"new"}'],
    ['hub.key', 'of another layout'],
    ['hub.sqlite', 'of another layout'],
    ['a.backup', '{"format":"lametun hub backup","version":1}'],
  ] as const)
    writeFileSync(path(state, name), content, { mode: 0o600 });
  const contents = () => readdirSync(state).map((name) => [name, readFileSync(path(state, name), 'utf8')]);
  const before = contents();
  for (const args of [['up'], ['serve'], ['hub'], ['leave'], ['backup', backup], ['restore', backup]])
    assertOneLine(
      lametun([...args, '--state', state]),
      1,
      /was written by lametun 0\.2\.0 .*: install that version or a newer one/,
    );
  const { status, stdout } = lametun(['down', '--state', state]); // what runs can be stopped
  assert.match(stdout, /^Nothing is running on /);
  assert.equal(status, 0);
  assert.deepEqual(contents(), before);
});

test('backup without a hub leaves nothing behind', (t) => {
  const folder = mkdtempSync(path(tmpdir(), 'lametun-usage-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const backup = (...more: readonly string[]): Outcome =>
    lametun(['backup', path(folder, 'backup'), '--state', path(folder, 'state'), ...more]);
  assertOneLine(backup(), 2, /no hub to back up here .*--state or --database/);
  assertOneLine(backup('--database', path(folder, 'other.sqlite')), 2, /other\.sqlite does not exist/);
  assert.deepEqual(readdirSync(folder), []);
});

test('an option is refused when it is empty, or given twice with different values', async () => {
  for (const [args, says] of [
    [['serve', '--state', ''], /--state is empty/],
    [['serve', '--state', '--json'], /--state needs a value, and --json is an option/],
    [['serve', '--name', 'a', '--name', 'b'], /--name is given twice/],
    [['hub', '--ask', '--no-ask'], /--ask and --no-ask contradict each other/],
    [['hub', '--public', 'a,'], /--public a, has an empty entry/],
    [['hub', '--database', 'foo'], /--database is neither a URL nor a path/],
    [['ping', ''], /<node> is empty/],
    [['backup', 'a\nb'], /<file> contains control characters/],
    [['share', '10.0.0.0/24', ''], /<network> is empty/],
    [['invite', '--share', '192.168.2.5/24'], /did you mean 192\.168\.2\.0\/24\?/],
    [['invite', '--reusable', '--uses', '1'], /--reusable and --uses 1 contradict each other/],
    [['revoke', 'a b'], /no invitation "a b"/],
    [['demo', '--pcap', ''], /--pcap is empty/],
    [['drops', '\u001b[2J'], /<interface> contains control characters/],
  ] as const) {
    const [name, ...rest] = args;
    const commands = commandGroups().flatMap(({ commands }) => commands);
    const command = commands.find((each) => each.name() === name)!;
    await assert.rejects(command.exitOverride().parseAsync(rest, { from: 'user' }), (error) => {
      assert.ok(error instanceof LametunError, `${error}`);
      assert.equal(error.code, 'usage');
      assert.match(error.message, says);
      return true;
    });
  }
  assertOneLine(lametun(['serve', '--state', '']), 2, /--state is empty/);
});

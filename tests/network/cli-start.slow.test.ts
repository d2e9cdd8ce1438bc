import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join as path } from 'node:path';
import { type TestContext, test } from 'node:test';
import { installedProgram } from '../kit/installed.js';
import { MAIN } from '../kit/lametun.js';
import { type Machine, NetworkLab, type Outcome, RESOLV_CONF } from '../kit/network-lab.js';
import { needs } from '../kit/requirements.js';
import { until } from '../kit/wait.js';
import { hubAlone, invite, JOIN_LINE, join } from './join.js';

/** How `serve`, `join`, `hub` and `up` start, and what they report when they cannot. */

const NEEDS = ['netns', 'tun', 'nft', 'ping'] as const;

function temporary(t: TestContext): string {
  const folder = mkdtempSync(path(tmpdir(), 'lametun-cli-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** Expects one helpful line on stderr, and nothing on stdout. */
function refused({ status, stdout, stderr }: Outcome, says: RegExp, expected = 1): void {
  assert.match(stderr, says);
  assert.match(stderr, /^lametun: [^\n]+\n$/);
  assert.equal(status, expected);
  assert.equal(stdout, '');
}

const arguments_ = (pid: number): string => readFileSync(`/proc/${pid}/cmdline`, 'utf8');

/** The process ID of the background process. */
const background = (machine: Machine): number => Number(readFileSync(`${machine.state}/lock`, 'utf8'));

/** Whether a process has exited, reaped or not. */
function isGone(pid: number): boolean {
  try {
    return / Z /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
  } catch {
    return true;
  }
}

const inShell = (machine: Machine, script: string, ...args: readonly string[]): Outcome =>
  machine.run('sh', '-c', script, process.execPath, MAIN, ...args);

test('serve with an invalid share creates no network', (t) => {
  if (!needs(t, ...NEEDS)) return;
  const { machine } = new NetworkLab(t).site('office');
  refused(machine.lametun('serve', '--share', '192.168.77.0/24'), /192\.168\.77\.0\/24/, 2);
  refused(machine.lametun('serve', '--share', 'attic'), /"attic" is not a network/, 2);
  refused(machine.lametun('up'), /contains no network: run/, 2);
});

test('--detach returns when the node is up, and holds no pipe open', async (t) => {
  if (!needs(t, ...NEEDS)) return;
  const lab = new NetworkLab(t);
  const office = lab.site('office').machine;
  const laptop = lab.site('laptop').machine;

  // $(...) ends when every process has closed the pipe.
  const served = inShell(
    office,
    'said=$("$0" "$@" 2>&1); echo "status $?"; echo "$said"',
    ...['serve', '--detach', '--name', 'office', '--state', office.state],
  );
  assert.match(served.stdout, /^status 0$/m, served.stdout);
  const [, token] = JOIN_LINE.exec(served.stdout)!;
  assert.equal((await office.status()).self.name, 'office', 'the node keeps running');

  await t.test('the background process gets the token through a pipe, wherever it came from', async () => {
    const joined = laptop.lametun('join', token!, '--detach', '--name', 'laptop');
    assert.equal(joined.status, 0, joined.stderr);
    assert.match(joined.stdout, /laptop\.home\.lametun is up/);
    const { stdout } = laptop.run('ip', 'netns', 'pids', laptop.namespace.name);
    const daemons = stdout.split('\n').filter((pid) => pid !== '' && existsSync(`/proc/${pid}/cmdline`));
    assert.ok(daemons.length > 0);
    for (const pid of daemons) assert.ok(!arguments_(Number(pid)).includes(token!.slice(4, 20)));
    await until('a reply by name', () => laptop.pings('office.home.lametun'));
  });

  await t.test('a failed start shows in the terminal and the exit status', () => {
    refused(office.lametun('up', '--detach'), /is in use by process \d+: run `lametun down.*` first/);
    refused(office.lametun('up'), /is in use by process \d+: run `lametun down.*` first/);
    const other = `${office.state}-2`;
    refused(
      office.run(process.execPath, MAIN, 'hub', '--detach', '--state', other),
      /(TCP|UDP) port 443 is used by another program.*--port/,
    );
    refused(
      office.run(process.execPath, MAIN, 'up', '--detach', '--state', `${other}-3`),
      /contains no network: run/,
      2,
    );
  });

  await t.test('later events are in a log in the state directory', async () => {
    const pid = background(laptop);
    assert.equal(laptop.lametun('leave').status, 0);
    await until('the log line', () =>
      /laptop .*no longer in the network/.test(readFileSync(`${office.state}/lametun.log`, 'utf8')),
    );
    await until('the interface to go', () => laptop.run('ip', 'link', 'show', 'lametun0').status !== 0);
    await until('the process to exit', () => isGone(pid));
    refused(laptop.lametun('status'), /no lametun is running on .*: run `lametun serve/);
  });

  await t.test('the log says why the node ended', async () => {
    assert.equal(laptop.lametun('join', invite(office), '--detach', '--name', 'laptop').status, 0);
    const pid = background(laptop);
    assert.equal(office.lametun('remove', 'laptop').status, 0);
    await until('the log line', () =>
      /this node was removed from the network home/.test(readFileSync(`${laptop.state}/lametun.log`, 'utf8')),
    );
    await until('the process to exit', () => isGone(pid));
  });

  const kill = async (machine: Machine, device = 'lametun0'): Promise<void> => {
    const pid = background(machine);
    process.kill(pid, 'SIGTERM');
    await until('the process to exit', () => isGone(pid));
    await until('its interface to go', () => machine.run('ip', 'link', 'show', device).status !== 0);
  };

  await t.test('an unreachable hub does not delay --detach', async (t) => {
    const joinedAt = performance.now();
    assert.equal(laptop.lametun('join', invite(office), '--detach', '--name', 'laptop').status, 0);
    const joining = performance.now() - joinedAt; // starts two processes and a node, as below
    await kill(laptop);
    const silence =
      'add table inet t; add chain inet t i { type filter hook input priority 0; policy drop; }';
    assert.equal(office.run('nft', silence).status, 0);
    const started = performance.now();
    const { status, stdout, stderr } = laptop.lametun('up', '--detach');
    const took = performance.now() - started;
    assert.equal(status, 0, stderr);
    assert.match(stdout, /laptop\.home\.lametun is up/);
    t.diagnostic(`up after ${Math.round(took)} ms; ${Math.round(joining)} ms with a hub`);
    assert.ok(took < joining + 8_000, `${took} ms: waiting for the hub takes 10 s more`);
    assert.notEqual((await laptop.status()).hub.state, 'connected');
    await kill(laptop);
    assert.equal(office.run('nft', 'delete table inet t').status, 0);
  });

  await t.test('options given to an existing member take effect, or are refused', async () => {
    const attached = (args: readonly string[]): void => {
      const { status, stdout, stderr } = laptop.lametun(...args, '--detach');
      assert.equal(status, 0, stderr);
      assert.match(stdout, /laptop\.home\.lametun is up: .*interface tunnel7/);
    };
    refused(laptop.lametun('up', '--install', '--detach'), /give one of them/, 2);
    refused(laptop.lametun('join', invite(office), '--name', 'bert'), /lametun rename laptop bert/, 2);
    refused(laptop.lametun('join', invite(office), '--share', '192.168.99.0/24'), /no route to/, 2);
    attached(['up', '--interface', 'tunnel7']);
    const readdressed = laptop.lametun('join', invite(office));
    assert.match(readdressed.stdout, /now looks for its hub at 198\.51\.100\.7/, readdressed.stderr);
    await kill(laptop, 'tunnel7');
    attached(['join', invite(office), '--share', '198.51.100.16/28']);
    await until('the hub to learn of it', async () => (await laptop.status()).shares[0]?.state === 'pending');
    await kill(laptop, 'tunnel7');
    assert.equal(laptop.lametun('up', '--detach', '--interface', 'lametun0').status, 0);
    assert.equal(laptop.lametun('share', '--none').status, 0);
    await kill(laptop);
  });

  await t.test('down stops a running node, and leave works without one', async () => {
    const nothing = laptop.lametun('down');
    assert.deepEqual([nothing.status, nothing.stdout], [0, `Nothing is running on ${laptop.state}\n`]);
    assert.equal(laptop.lametun('up', '--detach').status, 0);
    const pid = background(laptop);
    const stopped = laptop.lametun('down');
    assert.match(stopped.stdout, /^Stopped\. To start again, run: lametun up --state .*\n$/, stopped.stderr);
    assert.ok(isGone(pid));
    assert.notEqual(laptop.run('ip', 'link', 'show', 'lametun0').status, 0);
    const left = laptop.lametun('leave');
    assert.equal(left.stdout, 'Left the network\n', left.stderr);
    assert.doesNotMatch(office.lametun('nodes').stdout, /^laptop /m);
    refused(laptop.lametun('leave'), /contains no network: there is nothing to leave/, 2);
    assert.equal(laptop.lametun('join', invite(office), '--detach', '--name', 'laptop').status, 0);
    assert.equal(laptop.lametun('down').status, 0);
  });

  await t.test('a node that was removed meanwhile is not reported as up', async () => {
    const up = (): Outcome => {
      assert.equal(office.lametun('remove', 'laptop').status, 0);
      return laptop.lametun('up', '--detach');
    };
    let outcome = up();
    // `up` waits 3 s for the hub's answer, which is short on an overloaded machine.
    for (let again = 0; again < 2 && outcome.status === 0; again++) {
      const pid = background(laptop);
      await until('laptop to learn of it and to exit', () => isGone(pid));
      assert.equal(laptop.lametun('join', invite(office), '--detach', '--name', 'laptop').status, 0);
      await kill(laptop);
      outcome = up();
    }
    refused(outcome, /this node was removed from the network home/);
    refused(laptop.lametun('up', '--detach'), /contains no network/, 2);
  });
});

test('a token comes from an argument, a file or the standard input, and is not visible in /proc', async (t) => {
  if (!needs(t, ...NEEDS)) return;
  const lab = new NetworkLab(t);
  const hub = lab.site('hub').machine;
  const [one, two] = [lab.site('one').machine, lab.site('two').machine];
  await hubAlone(hub);

  const first = invite(hub);
  let running = join(one, first);
  await running.says(/one\.home\.lametun is up/);
  assert.ok(!arguments_(running.pid).includes(first.slice(4, 20)), arguments_(running.pid));

  await t.test('from a pipe', async () => {
    const token = invite(hub);
    const script = 'echo "sudo lametun join $TOKEN" | "$0" "$@"';
    const started = two.run(
      ...(['env', `TOKEN=${token}`, 'sh', '-c', script, process.execPath, MAIN] as const),
      ...['join', '-', '--detach', '--name', 'two', '--state', two.state],
    );
    assert.equal(started.status, 0, started.stderr);
    await until('one to learn of two', async () => (await one.status()).peers.length === 1);
  });

  await t.test('from a file, for a second network on the same machine', async (t) => {
    const file = path(temporary(t), 'token');
    const other = lab.site('other').machine;
    await hubAlone(other, '--network', 'work');
    writeFileSync(file, `${invite(other)}\n`);
    const args = ['join', '--token-file', file, '--name', 'one', '--state', `${one.state}-w`];
    const second = one.spawn(process.execPath, MAIN, ...args);
    await second.says(/one\.work\.lametun is up.*interface lametun1/); // the first network has lametun0
    assert.equal((await one.status()).peers.length, 1, 'the first network keeps running');
    await one.reaches((await one.status()).peers[0]!.ipv4);
    assert.equal(one.run('ip', 'link', 'show', 'lametun1').status, 0);
    await one.reaches('two.home.lametun'); // names of the first network
    // resolv.conf has one owner at a time; its node forwards to the other one.
    await until('names of the second network', () => one.pings('one.work.lametun'));
    await one.reaches('two.home.lametun'); // the first network's names still resolve
    const status = (): string =>
      one.run(process.execPath, MAIN, 'status', '--state', `${one.state}-w`).stdout;
    await until('status to show it', () => /^names +via resolv\.conf, through lametun0$/m.test(status()));
    assert.equal(await running.stop(), 0, running.stderr);
    await until('names of the second network alone', () => one.pings('one.work.lametun'));
    assert.equal(await second.stop(), 0, second.stderr);
    assert.equal(readFileSync(one.resolvConf, 'utf8'), RESOLV_CONF);
    running = one.start('up');
    await running.says(/one\.home\.lametun is up/);
    await until('names of the first network again', () => one.pings('two.home.lametun'));
  });

  await t.test('an invalid, revoked or unreachable token is refused with an explanation', () => {
    const fresh = lab.site('fresh').machine;
    const typed = (token: string, ...more: readonly string[]): Outcome =>
      fresh.lametun('join', token, '--name', 'fresh', ...more);
    refused(typed('lt1notatoken'), /token/, 2);
    refused(fresh.lametun('join', '--name', 'fresh'), /no token given: run `lametun join TOKEN`/, 2);
    assert.ok(!existsSync(fresh.state), 'no state directory was created');
    refused(typed(first), /invitation.*used/i);
    const expired = invite(hub, '--expires', '1s');
    hub.run('sleep', '1.2');
    refused(typed(expired), /invitation.*expired/i);
    const { stdout } = hub.lametun('invite', '--json');
    const { token, invite: id } = JSON.parse(stdout) as { token: string; invite: string };
    assert.equal(hub.lametun('revoke', id).status, 0);
    refused(typed(token), /invitation.*revoked/i);
    fresh.run('ip', 'route', 'del', 'default');
    fresh.run('ip', '-6', 'route', 'del', 'default');
    const nowhere = typed(invite(hub));
    assert.match(nowhere.stderr, /198\.51\.100\.\d+/);
    refused(nowhere, /cannot reach the hub/);
    assert.ok(!existsSync(path(fresh.state, 'node.json')), 'nothing is left');
    assert.notEqual(fresh.run('ip', 'link', 'show', 'lametun0').status, 0);
  });

  await t.test('a reusable token admits several nodes', () => {
    const token = invite(hub, '--reusable');
    for (const name of ['many1', 'many2']) {
      const machine = lab.site(name).machine;
      const outcome = machine.lametun('join', token, '--name', name, '--detach');
      assert.equal(outcome.status, 0, outcome.stderr);
    }
  });

  await t.test('a colliding route is named', async () => {
    const crowded = lab.site('crowded').machine;
    const [route] = (await one.status()).network.ipv4.split('/');
    crowded.run('ip', 'route', 'add', `${route}/17`, 'dev', 'wan');
    const outcome = crowded.lametun('join', invite(hub), '--name', 'crowded');
    refused(outcome, new RegExp(`collides with the route ${route}/17.*another --range`));
  });

  await t.test('without root, the error says to use sudo', (t) => {
    if (!needs(t, 'setpriv')) return;
    const state = path(temporary(t), 'state');
    const asNobody = [
      'setpriv',
      '--reuid=65534',
      '--regid=65534',
      '--clear-groups',
      process.execPath,
      MAIN,
    ] as const;
    const nobody = (...args: readonly string[]): Outcome => one.run(...asNobody, ...args);
    refused(
      nobody('status', '--state', one.state),
      /only root may open .*: try sudo|permission denied: try sudo/,
      2,
    );
    refused(nobody('join', invite(hub), '--state', state), /try sudo/, 2);
    refused(nobody('serve', '--state', state), /try sudo/, 2);
    const own = mkdtempSync('/tmp/lametun-nobody-');
    t.after(() => rmSync(own, { recursive: true, force: true }));
    one.run('chown', '65534:65534', own);
    const outcome = nobody('join', invite(hub), '--state', own, '--interface', 'own0');
    assert.match(outcome.stderr, /^lametun: [^\n]*(root|CAP_NET_ADMIN)[^\n]*\n$/);
  });
});

test('--install writes a unit whose command starts the node again', async (t) => {
  if (!needs(t, ...NEEDS, 'unshare')) return;
  const lab = new NetworkLab(t);
  const office = lab.site('office').machine;
  const laptop = lab.site('laptop').machine;
  const units = temporary(t);
  const program = installedProgram();
  // A private /etc/systemd, so that the machine's own is not touched.
  const script =
    'mkdir -p /etc/systemd/system && mount --bind "$UNITS" /etc/systemd/system && exec "$0" "$@"';
  const install = (machine: Machine, ...args: readonly string[]): Outcome =>
    machine.run(
      ...(['env', `UNITS=${units}`, 'unshare', '--mount', 'sh', '-c', script, ...program] as const),
      ...[...args, '--install', '--state', machine.state],
    );
  const unit = (): string => readFileSync(path(units, readdirSync(units)[0]!), 'utf8');
  const execStart = (text: string): string => /^ExecStart=(.+)$/m.exec(text)![1]!;

  const served = install(office, 'serve', '--name', 'office');
  assert.equal(served.status, 0, served.stderr);
  const [, token] = JOIN_LINE.exec(served.stdout)!;
  assert.match(served.stdout, /Wrote .*lametun-[\w.-]+-office\.service\..*systemctl enable --now/s);
  const running = office.spawn('sh', '-c', `exec ${execStart(unit())}`);
  rmSync(path(units, readdirSync(units)[0]!));
  await running.says(/office\.home\.lametun is up/);

  const joined = install(laptop, 'join', token!, '--name', 'laptop', '--json');
  assert.equal(joined.status, 0, joined.stderr);
  const events = joined.stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as { event: string });
  const named = events.map(({ event }) => event).filter((event) => event !== 'change');
  assert.deepEqual(named, ['up', 'installed']);
  const again = laptop.spawn('sh', '-c', `exec ${execStart(unit())}`);
  await again.says(/laptop\.home\.lametun is up/);
  await until('a reply by name', () => laptop.pings('office.home.lametun'));

  await t.test('systemd-analyze finds nothing wrong with the unit', (t) => {
    if (!needs(t, 'systemd-analyze')) return;
    const { status, stdout, stderr } = laptop.run(
      ...(['systemd-analyze', 'verify', '--man=no', path(units, readdirSync(units)[0]!)] as const),
    );
    assert.equal(`${stdout}${stderr}`, '');
    assert.equal(status, 0);
  });
});

import assert from 'node:assert/strict';
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  closeSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { holdOpenFile } from '../../src/linux/files/file-lock.js';
import { STATE_LOCK } from '../../src/linux/files/runtime-state.js';
import { needs } from '../kit/requirements.js';
import { until } from '../kit/wait.js';

/** The promise is 2 s; busy machines get more. Milliseconds. */
const SLACK = 20_000;
const BEFORE = 'search corp.example\nnameserver 192.0.2.53\nnameserver 192.0.2.54\noptions edns0\n';
const MODULE = (name: string): string =>
  JSON.stringify(new URL(`../../src/node/names/${name}.js`, import.meta.url).href);

interface FakeEtc {
  readonly etc: string;
  readonly path: string;
  readonly state: string;
  text(): string;
}

/** A substitute for /etc, so that no test touches the real one. */
function fakeEtc(t: TestContext): FakeEtc {
  const root = mkdtempSync(join(tmpdir(), 'lametun-names-'));
  t.after(() => rmSync(root, { recursive: true, force: true }));
  const [etc, state] = [join(root, 'etc'), join(root, 'state')];
  mkdirSync(etc);
  mkdirSync(state);
  const path = join(etc, 'resolv.conf');
  return { etc, path, state, text: () => readFileSync(path, 'utf8') };
}

interface Running {
  readonly child: ChildProcess;
  readonly lines: string[];
  /** Sends a signal, and waits for the exit. */
  end(signal: NodeJS.Signals): Promise<void>;
}

/** A process that manages the machine's names. A shell in its mount namespace runs `prepare` first. */
async function running(
  t: TestContext,
  { path, state }: Pick<FakeEtc, 'path' | 'state'>,
  { device = 'lt0', address = '10.7.0.2', prepare = 'true', env = {} as Record<string, string> } = {},
): Promise<Running> {
  const options = { device, address, domain: 'home.lametun', stateDirectory: state, resolvConf: path };
  const script = `
    const { startSystemNames } = await import(${MODULE('system-names')});
    const names = startSystemNames({ ...${JSON.stringify(options)}, reverse: ['7.10.in-addr.arpa'], log: (m) => console.log('log', m) });
    process.once('SIGTERM', () => { names.stop(); names.stop(); process.exit(0); });
    const print = () => console.log(names.how, names.upstreams().join(), names.why ?? '');
    process.on('SIGUSR2', print);
    print();
    setInterval(() => {}, 1000);`;
  const node = [process.execPath, '--input-type=module', '-e', script];
  const child = spawn('unshare', ['-m', 'sh', '-c', `${prepare} && exec "$@"`, 'sh', ...node], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, ...env },
    detached: true,
  });
  t.after(() => child.kill('SIGKILL'));
  const lines: string[] = [];
  child.stdout!.setEncoding('utf8').on('data', (chunk: string) => lines.push(...chunk.trim().split('\n')));
  await until('the process to start', () => lines.some((line) => !line.startsWith('log ')));
  const end = async (signal: NodeJS.Signals): Promise<void> => {
    const exit = once(child, 'exit');
    child.kill(signal);
    await exit;
  };
  return { child, lines, end };
}

/** The state that the process reports now. */
async function reportOf({ child, lines }: Running): Promise<string> {
  const before = lines.length;
  child.kill('SIGUSR2');
  await until('the report', () => lines.length > before);
  return lines.at(-1)!.trim();
}

/** Asserts that lametun left no file in the folder, and that no guard runs for it. */
function assertNothingLeft({ etc, state }: FakeEtc, files = ['resolv.conf']): void {
  assert.deepEqual(readdirSync(etc).sort(), files);
  assert.deepEqual(readdirSync(state), []);
}

const guards = (path: string): number[] =>
  readdirSync('/proc').flatMap((pid) => {
    if (!/^\d+$/.test(pid)) return [];
    try {
      const words = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
      if (!words.includes('lametun-guard') || !words.includes(path)) return [];
      assert.ok(words.join(' ').length < 400, 'it fits one line of `ps`');
      return [Number(pid)];
    } catch {
      return [];
    }
  });

test('resolv.conf names the node, keeps its other settings, and is restored at the end', async (t) => {
  if (!needs(t, 'root', 'unshare')) return;
  const at = fakeEtc(t);
  writeFileSync(at.path, BEFORE);
  chmodSync(at.path, 0o640);
  const one = await running(t, at);
  assert.equal(one.lines[0]!.trim(), 'resolv.conf 192.0.2.53,192.0.2.54');
  const lines = at
    .text()
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#'));
  assert.deepEqual(lines, ['nameserver 10.7.0.2', 'search corp.example home.lametun', 'options edns0']);
  assert.match(at.text(), /By hand: mv .*resolv\.conf\.before-lametun/);
  assert.equal(lstatSync(at.path).mode & 0o777, 0o644);
  assert.equal(guards(at.path).length, 1);
  await one.end('SIGTERM');
  assert.equal(at.text(), BEFORE);
  assert.equal(lstatSync(at.path).mode & 0o777, 0o640);
  await until('the guard to exit', () => guards(at.path).length === 0, SLACK);
  assertNothingLeft(at);
});

test('after kill -9 the file, link or absence is restored within 2 seconds', async (t) => {
  if (!needs(t, 'root', 'unshare')) return;
  for (const kind of ['file', 'link', 'missing'] as const) {
    const at = fakeEtc(t);
    if (kind === 'file') writeFileSync(at.path, BEFORE);
    if (kind === 'link') {
      writeFileSync(join(at.etc, 'real'), BEFORE);
      symlinkSync('real', at.path);
    }
    const one = await running(t, at);
    assert.equal(
      one.lines[0]!.trim(),
      kind === 'missing' ? 'resolv.conf' : 'resolv.conf 192.0.2.53,192.0.2.54',
    );
    assert.match(at.text(), /^nameserver 10\.7\.0\.2$/m);
    // First its whole process group gets a signal, as when a terminal closes.
    const group = -one.child.pid!;
    process.kill(group, 'SIGINT');
    process.kill(group, 'SIGHUP');
    await one.end('SIGKILL');
    if (kind === 'missing') await until('the file to be gone', () => !existsSync(at.path), SLACK);
    else await until(`the ${kind} to be back`, () => existsSync(at.path) && at.text() === BEFORE, SLACK);
    if (kind === 'link') assert.equal(readlinkSync(at.path), 'real');
    await until('the guard to exit', () => guards(at.path).length === 0, SLACK);
    assertNothingLeft(at, kind === 'link' ? ['real', 'resolv.conf'] : kind === 'file' ? ['resolv.conf'] : []);
  }
});

test('a mounted file is written and restored in place', async (t) => {
  if (!needs(t, 'root', 'unshare')) return;
  for (const [signal, readOnly] of [
    ['SIGTERM', false],
    ['SIGKILL', false],
    ['SIGTERM', true],
    ['SIGKILL', true],
  ] as const) {
    const at = fakeEtc(t);
    const mounted = join(at.state, '..', 'mounted');
    writeFileSync(at.path, 'not this one\n');
    writeFileSync(mounted, BEFORE);
    const freeze = `mount --bind ${at.etc} ${at.etc} && mount -o remount,ro,bind ${at.etc} && `;
    const prepare = `${readOnly ? freeze : ''}mount --bind ${mounted} ${at.path}`;
    const one = await running(t, at, { prepare });
    assert.equal(one.lines[0]!.trim(), 'resolv.conf 192.0.2.53,192.0.2.54');
    assert.match(readFileSync(mounted, 'utf8'), /^nameserver 10\.7\.0\.2$/m);
    await one.end(signal);
    await until('the file to be restored', () => readFileSync(mounted, 'utf8') === BEFORE, SLACK);
    await until('the guard to exit', () => guards(at.path).length === 0, SLACK);
    assertNothingLeft(at);
  }
});

test('an unwritable file is reported with the reason', async (t) => {
  if (!needs(t, 'root', 'unshare')) return;
  const at = fakeEtc(t);
  writeFileSync(at.path, BEFORE);
  const prepare = `mount --bind ${at.etc} ${at.etc} && mount -o remount,ro,bind ${at.etc}`;
  const one = await running(t, at, { prepare });
  assert.match(one.lines[0]!, /^none {2}.*cannot write .*resolv\.conf: .*EROFS/);
  await one.end('SIGTERM');
  assertNothingLeft(at);
});

test('a new file from another program is used for name servers, and restored at the end', async (t) => {
  if (!needs(t, 'root', 'unshare')) return;
  const at = fakeEtc(t);
  writeFileSync(at.path, BEFORE);
  const one = await running(t, at);
  const lease = 'nameserver 198.51.100.53\nsearch cafe.example\n';
  writeFileSync(`${at.path}.dhclient`, lease);
  renameSync(`${at.path}.dhclient`, at.path);
  await until('the file to be taken over again', () => at.text().includes('nameserver 10.7.0.2'));
  assert.match(at.text(), /^search cafe\.example home\.lametun$/m);
  assert.equal(await reportOf(one), 'resolv.conf 198.51.100.53');
  await one.end('SIGKILL');
  await until('the newer file to be back', () => at.text() === lease, SLACK);
});

test('a deleted file is written again, and the original is restored at the end', async (t) => {
  if (!needs(t, 'root', 'unshare')) return;
  const at = fakeEtc(t);
  writeFileSync(at.path, BEFORE);
  const one = await running(t, at);
  rmSync(at.path);
  await until('the file to be written again', () => existsSync(at.path));
  assert.match(at.text(), /^nameserver 10\.7\.0\.2\nsearch corp\.example home\.lametun$/m);
  assert.equal(await reportOf(one), 'resolv.conf 192.0.2.53,192.0.2.54');
  assert.match(one.lines.join('\n'), /^log Restored \/.*resolv\.conf, which another program .*had changed$/m);
  await one.end('SIGTERM');
  assert.equal(at.text(), BEFORE);
  assertNothingLeft(at);
});

test('lametun yields to a program that writes the file again and again, and names it', async (t) => {
  if (!needs(t, 'root', 'unshare')) return;
  // Only the process name identifies the program.
  const program = spawn('sh', ['-c', 'echo dhclient >/proc/$$/comm; echo; read word'], {
    stdio: ['pipe', 'pipe', 'ignore'],
  });
  t.after(() => program.kill('SIGKILL'));
  await once(program.stdout!, 'data');
  for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
    const at = fakeEtc(t);
    writeFileSync(at.path, BEFORE);
    const one = await running(t, at);
    const hasGivenUp = (): boolean => one.lines.some((line) => line.includes('leaves it alone'));
    for (let i = 1; !hasGivenUp(); i++) {
      assert.ok(i < 10, 'lametun gives up');
      writeFileSync(`${at.path}.dhclient`, `nameserver 198.51.100.${i}\n`);
      renameSync(`${at.path}.dhclient`, at.path);
      await until(
        'the takeover or a warning',
        () => at.text().includes('nameserver 10.7.0.2') || hasGivenUp(),
      );
    }
    const theirs = at.text();
    assert.match(theirs, /^nameserver 198\.51\.100\.4\n$/, 'after three rounds the fourth file stays');
    assert.match(
      await reportOf(one),
      /^none 198\.51\.100\.4 \/.*resolv\.conf keeps being changed by another program \(probably .*dhclient.*\): lametun leaves it alone for now; names in home\.lametun are not found; stop that program/,
    );
    await one.end(signal);
    await until('the guard to exit', () => guards(at.path).length === 0, SLACK);
    assert.equal(at.text(), theirs);
    assertNothingLeft(at);
  }
});

test('a manual change to lametun’s file is kept in the restored file', async (t) => {
  if (!needs(t, 'root', 'unshare')) return;
  const at = fakeEtc(t);
  writeFileSync(at.path, BEFORE);
  const one = await running(t, at);
  writeFileSync(at.path, `${at.text()}nameserver 9.9.9.9\n`);
  await until('the change to be noticed', async () => (await reportOf(one)).includes('9.9.9.9'));
  await one.end('SIGTERM');
  assert.match(at.text(), /^nameserver 9\.9\.9\.9$/m);
  assert.match(at.text(), /^nameserver 192\.0\.2\.53$/m);
  assert.doesNotMatch(at.text(), /lametun|10\.7\.0\.2/);
});

test('changes behind a linked resolv.conf are noticed', async (t) => {
  if (!needs(t, 'root', 'unshare')) return;
  const at = fakeEtc(t);
  writeFileSync(join(at.etc, 'real'), BEFORE);
  symlinkSync('real', at.path);
  const one = await running(t, at);
  writeFileSync(join(at.etc, 'real'), 'nameserver 198.51.100.53\n');
  await until('the new server to be used', async () => (await reportOf(one)).endsWith('198.51.100.53'));
  await one.end('SIGTERM');
  assert.equal(at.text(), 'nameserver 198.51.100.53\n');
});

test('a newer file is not overwritten after a kill, with or without the guard', async (t) => {
  if (!needs(t, 'root', 'unshare')) return;
  const at = fakeEtc(t);
  writeFileSync(at.path, BEFORE);
  const one = await running(t, at);
  one.child.kill('SIGSTOP'); // so that it does not take over again
  writeFileSync(at.path, 'nameserver 198.51.100.53\n');
  await one.end('SIGKILL');
  await until('the guard to exit', () => guards(at.path).length === 0, SLACK);
  assert.equal(at.text(), 'nameserver 198.51.100.53\n');
  assertNothingLeft(at);
});

test('after a power cut the next start restores the file', async (t) => {
  if (!needs(t, 'root', 'unshare')) return;
  const at = fakeEtc(t);
  writeFileSync(at.path, BEFORE);
  const one = await running(t, at);
  one.child.kill('SIGSTOP');
  for (const guard of guards(at.path)) process.kill(guard, 'SIGKILL'); // no guard outlives a power cut
  await one.end('SIGKILL');
  await sleep(200);
  assert.match(at.text(), /^nameserver 10\.7\.0\.2$/m, 'left behind');
  const two = await running(t, at, { address: '10.7.0.3' });
  assert.equal(two.lines[0]!.trim(), 'resolv.conf 192.0.2.53,192.0.2.54');
  await two.end('SIGTERM');
  assert.equal(at.text(), BEFORE);
  assertNothingLeft(at);
});

test('a killed guard is replaced', async (t) => {
  if (!needs(t, 'root', 'unshare')) return;
  const at = fakeEtc(t);
  writeFileSync(at.path, BEFORE);
  const one = await running(t, at);
  const [first] = guards(at.path);
  process.kill(first!, 'SIGKILL');
  await until('another guard', () => guards(at.path).some((pid) => pid !== first));
  await one.end('SIGKILL');
  await until('the file to be back', () => at.text() === BEFORE, SLACK);
});

test('the guard restores the file if the process cannot because another lametun holds the lock', async (t) => {
  if (!needs(t, 'root', 'unshare')) return;
  const at = fakeEtc(t);
  writeFileSync(at.path, BEFORE);
  const one = await running(t, at);
  const lock = openSync(STATE_LOCK, 'a');
  t.after(() => closeSync(lock));
  assert.ok(holdOpenFile(lock));
  await one.end('SIGTERM'); // waits 10 s for the lock
  await until('the file to be back', () => at.text() === BEFORE, SLACK);
  await until('the guard to exit', () => guards(at.path).length === 0, SLACK);
  assertNothingLeft(at);
});

test('a late guard does not disturb the next lametun', async (t) => {
  if (!needs(t, 'root', 'unshare')) return;
  const at = fakeEtc(t);
  writeFileSync(at.path, BEFORE);
  const one = await running(t, at);
  const [late] = guards(at.path);
  process.kill(late!, 'SIGSTOP');
  await one.end('SIGKILL');
  const two = await running(t, at, { address: '10.7.0.3' });
  process.kill(late!, 'SIGCONT');
  await until('the late guard to exit', () => !guards(at.path).includes(late!));
  assert.match(at.text(), /^nameserver 10\.7\.0\.3$/m);
  await two.end('SIGKILL');
  await until('the file to be back', () => at.text() === BEFORE, SLACK);
});

test('a second node reports that it waits until the first one restores the file', async (t) => {
  if (!needs(t, 'root', 'unshare')) return;
  const at = fakeEtc(t);
  writeFileSync(at.path, BEFORE);
  const one = await running(t, at);
  const state = join(at.state, '..', 'state2');
  mkdirSync(state);
  const two = await running(t, { path: at.path, state }, { device: 'lt1', address: '10.8.0.2' });
  assert.match(await reportOf(two), /^none .*the lametun on lt0 has taken over/);
  assert.match(two.lines[0]!, /^log .*the lametun on lt0 has taken over/);
  await one.end('SIGTERM');
  await until('the second node to take it over', () => at.text().includes('nameserver 10.8.0.2'));
  assert.equal(await reportOf(two), 'resolv.conf 192.0.2.53,192.0.2.54');
  await two.end('SIGKILL');
  await until('the file to be back', () => at.text() === BEFORE, SLACK);
});

test('where systemd-resolved is in charge, it gets the link’s server and domains', async (t) => {
  if (!needs(t, 'root', 'unshare')) return;
  if (process.env['LAMETUN_SANDBOX'] !== '1' && existsSync('/run/systemd/resolve')) {
    t.skip('could not run: this machine runs systemd-resolved: run the tests in their sandbox');
    return;
  }
  const at = fakeEtc(t);
  writeFileSync(at.path, 'nameserver 127.0.0.53\n');
  const bin = join(at.state, '..', 'bin');
  mkdirSync(bin);
  const log = join(bin, 'log');
  const fake = (status: number): void =>
    writeFileSync(join(bin, 'resolvectl'), `#!/bin/sh\necho "$@" >>${log}\nexit ${status}\n`, {
      mode: 0o755,
    });
  fake(0);
  const env = { PATH: `${bin}:${process.env['PATH']}` };
  const prepare = 'mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/resolve';
  const one = await running(t, at, { env, prepare });
  assert.equal(one.lines[0]!.trim(), 'systemd-resolved');
  await one.end('SIGTERM');
  assert.deepEqual(readFileSync(log, 'utf8').trim().split('\n'), [
    'dns lt0 10.7.0.2',
    'domain lt0 home.lametun ~home.lametun ~7.10.in-addr.arpa',
    'default-route lt0 false',
    'dnssec lt0 no',
    'dnsovertls lt0 no',
    'revert lt0',
  ]);
  assert.equal(at.text(), 'nameserver 127.0.0.53\n', 'resolv.conf is left alone');
  // resolv.conf is used if systemd-resolved refuses, or if programs do not use it.
  fake(1);
  const two = await running(t, at, { env, prepare });
  assert.match(two.lines[0]!, /^log cannot tell systemd-resolved about home\.lametun: resolvectl dns lt0/);
  assert.equal(await reportOf(two), 'resolv.conf 127.0.0.53');
  await two.end('SIGTERM');
  fake(0);
  writeFileSync(at.path, BEFORE);
  const three = await running(t, at, { env, prepare });
  assert.match(three.lines[0]!, /^resolv\.conf/);
  await three.end('SIGTERM');
});

test('programs resolve node names through the machine’s own resolver, and other names as before', async (t) => {
  if (!needs(t, 'netns', 'unshare', 'getent')) return;
  const at = fakeEtc(t);
  const etc = join(at.etc, 'mounted');
  writeFileSync(etc, BEFORE);
  const script = `
    import { execFileSync } from 'node:child_process';
    import { readFileSync } from 'node:fs';
    const { LocalNames } = await import(${MODULE('local-names')});
    const { promisify } = await import('node:util');
    const run = promisify((await import('node:child_process')).execFile);
    execFileSync('sh', ['-c', 'ip link set lo up; ip addr add 10.7.0.2/16 dev lo; ip addr add fd12::2/64 dev lo nodad']);
    const ranges = [{ address: Uint8Array.of(10, 7, 0, 0), prefix: 16 }, { address: Uint8Array.of(0xfd, 0x12, ...Array(14).fill(0)), prefix: 64 }];
    const addresses = { ipv4: Uint8Array.of(10, 7, 0, 2), ipv6: Uint8Array.of(0xfd, 0x12, ...Array(13).fill(0), 2) };
    const names = new LocalNames((m) => console.log('log', m));
    await names.start({ network: 'home', ranges, device: 'lt0', addresses, stateDirectory: ${JSON.stringify(at.state)} });
    names.set([{ name: 'office', ipv4: '10.7.0.9', ipv6: 'fd12::9' }]);
    console.log(names.status.how);
    const getent = async (...args) => console.log((await run('getent', args).catch((e) => ({ stdout: 'none' }))).stdout.trim().split('\\n')[0]);
    await getent('ahostsv4', 'office.home.lametun');
    await getent('ahostsv6', 'office');
    await getent('hosts', '10.7.0.9');
    await getent('ahostsv4', 'nobody.home.lametun');
    names.stop();
    console.log(JSON.stringify(readFileSync('/etc/resolv.conf', 'utf8')));
    process.exit(0);`;
  const said = execFileSync(
    'unshare',
    [
      '-m',
      '-n',
      'sh',
      '-c',
      `mount --bind ${etc} /etc/resolv.conf && exec "$@"`,
      'sh',
      process.execPath,
      '--input-type=module',
      '-e',
      script,
    ],
    { encoding: 'utf8', timeout: 60_000 },
  );
  const lines = said.trim().split('\n');
  assert.equal(lines[0], 'resolv.conf');
  assert.match(lines[1]!, /^10\.7\.0\.9 /);
  assert.match(lines[2]!, /^fd12::9 /);
  assert.match(lines[3]!, /^10\.7\.0\.9 +office\.home\.lametun$/);
  assert.equal(lines[4], 'none');
  assert.equal(JSON.parse(lines[5]!), BEFORE);
});

test('another namespace’s resolv.conf is left alone', async (t) => {
  if (!needs(t, 'netns', 'unshare')) return;
  const script = `
    const { startSystemNames } = await import(${MODULE('system-names')});
    const names = startSystemNames({ device: 'lt0', address: '10.7.0.2', domain: 'home.lametun', stateDirectory: '/nonexistent', log: console.log });
    console.log(names.how, names.why);
    process.exit(0);`;
  const before = readFileSync('/etc/resolv.conf', 'utf8');
  const said = execFileSync('unshare', ['-n', process.execPath, '--input-type=module', '-e', script], {
    encoding: 'utf8',
  });
  assert.match(said, /^none .*belongs to another network namespace.*\/etc\/netns\//);
  assert.equal(readFileSync('/etc/resolv.conf', 'utf8'), before);
});

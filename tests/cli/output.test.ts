import assert from 'node:assert/strict';
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  closeSync,
  constants,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { UdpSocket } from '../../src/linux/net/udp.js';
import { Namespace } from '../../src/linux/process/namespace.js';
import { MAIN } from '../kit/lametun.js';
import { needs } from '../kit/requirements.js';
import { until } from '../kit/wait.js';

/** Neither the working directory nor the reader of its output may keep the program from exiting properly. */

let count = 0;

function namespace(t: TestContext): Namespace {
  const made = Namespace.create(`o${process.pid.toString(36)}-${count++}`);
  t.after(() => made.remove());
  return made;
}

/** Runs a shell line to its end. `"$@"` in it is the program. */
function shell(host: Namespace, line: string, args: readonly string[]) {
  const words = ['-c', line, 'bash', process.execPath, MAIN, ...args];
  return host.inside(() => spawnSync('bash', words, { encoding: 'utf8', timeout: 60_000 }));
}

/** The stderr of a child so far. */
function errorsOf(child: ChildProcess): () => string {
  let text = '';
  child.stderr!.setEncoding('utf8').on('data', (part: string) => {
    text += part;
  });
  return () => text;
}

const devices = (host: Namespace): string => host.run('ip', ['-o', 'link']);

test('the program exits cleanly when its reader goes away: lametun -listen --json | head -1', (t) => {
  if (!needs(t, 'root', 'tun', 'netns')) return;
  const host = namespace(t);
  const { status, stdout, stderr } = shell(host, 'set -o pipefail; "$@" | head -n 1', ['-listen', '--json']);
  assert.equal(status, 0, stderr);
  assert.match(stdout, /^\{"event":"start".*\}\n$/);
  assert.equal(stderr, '');
  assert.doesNotMatch(devices(host), /tun0/);
});

test('a failed write to stdout ends the program with one line and status 1', (t) => {
  if (!needs(t, 'root', 'tun', 'netns')) return;
  const host = namespace(t);
  const { status, stderr } = shell(host, 'exec "$@" > /dev/full', ['-listen', '--json']);
  assert.match(stderr, /^lametun: cannot write output: ENOSPC[^\n]*\n$/);
  assert.equal(status, 1);
  assert.doesNotMatch(devices(host), /tun0/);
});

test('a stalled reader prevents neither exit nor cleanup', async (t) => {
  if (!needs(t, 'root', 'tun', 'netns')) return;
  const host = namespace(t);
  const folder = mkdtempSync(join(tmpdir(), 'lametun-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const pipe = join(folder, 'pipe');
  host.run('mkfifo', [pipe]);
  const [reader, writer] = [constants.O_RDONLY, constants.O_WRONLY].map((flags) =>
    openSync(pipe, flags | constants.O_NONBLOCK),
  ) as [number, number];
  t.after(() => closeSync(reader));
  assert.throws(() => writeSync(writer, Buffer.alloc(1 << 20)) && writeSync(writer, '.'), /EAGAIN/);
  const child = host.spawn(process.execPath, [MAIN, '-listen', '--json'], {
    stdio: ['ignore', writer, 'pipe'],
  });
  closeSync(writer);
  const errors = errorsOf(child);
  await until('the device', () => devices(host).includes('tun0'));
  child.kill('SIGTERM');
  t.after(() => child.kill('SIGKILL'));
  const [status] = await once(child, 'exit', { signal: AbortSignal.timeout(60_000) });
  assert.equal(status, 0, errors());
  assert.equal(errors(), '');
  assert.doesNotMatch(devices(host), /tun0/);
});

test('a signal ends the program at once while it waits for a name server', async (t) => {
  if (!needs(t, 'root', 'netns')) return;
  const host = namespace(t);
  const silent = host.inside(() => UdpSocket.open(53));
  t.after(() => silent.close());
  const folder = mkdtempSync(join(tmpdir(), 'lametun-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const file = join(folder, 'resolv.conf');
  writeFileSync(file, 'nameserver 127.0.0.1\noptions timeout:20 attempts:1\n');
  // `ip netns exec` gives each program its own mounts, so only this program sees this resolv.conf.
  const line = `mount --bind ${file} /etc/resolv.conf && exec "$@"`;
  const words = ['-c', line, 'bash', process.execPath, MAIN, '-server', 'office.example'];
  const child = host.spawn('bash', words, { stdio: ['ignore', 'pipe', 'pipe'] });
  const errors = errorsOf(child);
  const asked = () => host.inside(() => readFileSync('/proc/thread-self/net/udp6', 'utf8'));
  await until('the query', () => /:0035 [0-9A-F:]{37} 07 [0-9A-F]{8}:(?!0{8})/.test(asked()));
  const start = performance.now();
  child.kill('SIGINT');
  const [, signal] = await once(child, 'exit');
  assert.equal(signal, 'SIGINT', errors());
  assert.ok(performance.now() - start < 15_000); // the resolver's timeout is 20 s
});

test('the program starts in a deleted working directory', async (t) => {
  if (!needs(t, 'root', 'tun', 'netns')) return;
  const host = namespace(t);
  const folder = mkdtempSync(join(tmpdir(), 'lametun-'));
  const words = ['-c', 'cd "$0" && rmdir "$0" && exec "$@"', folder, process.execPath, MAIN];
  const child = host.inside(() => spawn('bash', [...words, '-listen', '--json']));
  t.after(() => child.kill('SIGKILL'));
  const errors = errorsOf(child);
  let said = '';
  child.stdout.on('data', (part: Buffer) => {
    said += part;
  });
  await until('"ready"', () => said.includes('"ready"') || (child.exitCode !== null && 'ended'));
  child.kill('SIGTERM');
  const [status] = child.exitCode === null ? await once(child, 'exit') : [child.exitCode];
  assert.equal(status, 0, errors());
});

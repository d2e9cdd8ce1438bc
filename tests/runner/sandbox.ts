import { spawn, spawnSync } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';

/** `1` for everything that runs inside the sandbox; `none` lets a run do without one. */
export const SANDBOX_VARIABLE = 'LAMETUN_SANDBOX';

/**
 * What the sandbox has of its own: the network, so that no device, route or firewall rule of the machine is
 * touched; the mounts, for /run, where `ip netns` keeps its names, and for /etc, where a node changes resolv.conf;
 * and the process ids, because with the first of them the kernel ends all the others, and so removes whatever a
 * crash left behind.
 */
const NAMESPACES = ['--net', '--mount', '--pid', '--fork', '--kill-child', '--mount-proc'];

/**
 * What the sandbox needs to be usable. Its /etc/resolv.conf is always the same file, whatever the machine's is, and
 * whatever a node that was killed has left beside it. A machine without a TUN device node that everybody may open, as
 * most distributions have it, gets one in a /dev/net of its own; where making it is forbidden the tests that need it
 * say so.
 */
const PREPARE = `
mount -t tmpfs -o mode=755 tmpfs /run && mkdir /run/netns && ip link set lo up || exit 125
cp -a /etc /run/etc && rm -f /run/etc/resolv.conf* && echo nameserver 192.0.2.53 >/run/etc/resolv.conf || exit 125
mount --bind /run/etc /etc || exit 125
if [ "$(stat -c %a /dev/net/tun 2>&1)" != 666 ] && mkdir -p /dev/net && mount -t tmpfs tmpfs /dev/net; then
  mknod -m 666 /dev/net/tun c 10 200 2>/dev/null || umount /dev/net
fi`;

/**
 * The first process of the sandbox. It stays a shell: one that never waits for its orphans, as node would not,
 * collects them for ever. Temporary files have a folder of their own, in memory, which other users may enter, too.
 */
const INIT = `${PREPARE}
TMPDIR=$(mktemp -d) && mount -t tmpfs -o mode=755 tmpfs "$TMPDIR" && export TMPDIR || exit 125
"$@"
`;

/** Why this process cannot have a sandbox, or undefined when it can. */
export function whyNoSandbox(): string | undefined {
  if (process.geteuid?.() !== 0) return 'not root';
  const { error, status, stderr } = spawnSync('unshare', [...NAMESPACES, 'sh', '-c', PREPARE], {
    encoding: 'utf8',
  });
  if (error !== undefined) return `unshare does not start (${error.message})`;
  return status === 0 ? undefined : stderr.trim().split('\n')[0] || `unshare ended with status ${status}`;
}

/**
 * Runs this program once more, inside namespaces of its own, to its end.
 *
 * @returns its exit status
 */
export function runInSandbox(): Promise<number> {
  const program = [process.execPath, ...process.execArgv, ...process.argv.slice(1)];
  // Not /tmp itself, and nothing mounted over it: this very program may be there.
  const temporary = mkdtempSync(join(tmpdir(), 'lametun-tests-'));
  chmodSync(temporary, 0o755); // some tests run programs as other users
  // Should this process be killed, setpriv has the kernel end the sandbox too.
  const child = spawn(
    'setpriv',
    ['--pdeathsig', 'KILL', 'unshare', ...NAMESPACES, 'sh', '-c', INIT, 'sh', ...program],
    {
      stdio: ['ignore', 'inherit', 'inherit'],
      env: { ...process.env, [SANDBOX_VARIABLE]: '1', TMPDIR: temporary },
    },
  );
  // A Ctrl-C reaches the program inside by way of the terminal; unshare(1) itself blocks both signals.
  process.on('SIGINT', () => {});
  process.on('SIGTERM', () => child.kill('SIGKILL'));
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code, signal) => {
      rmSync(temporary, { recursive: true, force: true });
      resolve(code ?? 128 + constants.signals[signal ?? 'SIGKILL']);
    });
  });
}

/**
 * Gives each program that node starts as a copy of itself a sandbox of its own inside this one, so that test files
 * that run at the same time do not see each other's namespaces, devices and files.
 *
 * Node's test runner has no way to say how a test file is started, but it starts `process.execPath`.
 */
export function sandboxEachChild(): void {
  const quote = (word: string): string => `'${word.replaceAll("'", `'\\''`)}'`;
  const words = [
    'setpriv',
    '--pdeathsig',
    'KILL',
    'unshare',
    ...NAMESPACES,
    'sh',
    '-c',
    INIT,
    'sh',
    process.execPath,
  ];
  // The shell stays: it ends at the signal that unshare(1) blocks, and the rest with it.
  writeFileSync('/run/node', `#!/bin/sh\n${words.map(quote).join(' ')} "$@"\nexit $?\n`, { mode: 0o755 });
  process.execPath = '/run/node';
}

import { spawn, spawnSync } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';

/** `1` inside the sandbox; `none` runs the tests without one. */
export const SANDBOX_VARIABLE = 'LAMETUN_SANDBOX';

/**
 * The namespaces of the sandbox:
 * - network, to leave the machine's interfaces, routes and firewall rules alone;
 * - mount, for /run, where `ip netns` keeps its names, and /etc, where a node changes resolv.conf;
 * - PID: when the first process ends, the kernel kills all others, and so cleans up after a crash.
 */
const NAMESPACES = ['--net', '--mount', '--pid', '--fork', '--kill-child', '--mount-proc'];

/**
 * Prepares the sandbox. Its /etc/resolv.conf is always the same, whatever the machine's file contains and a killed node
 * has left behind. If not every user may open /dev/net/tun, as on most distributions, the sandbox gets its own. Where
 * creating it is forbidden, the tests that need it say so.
 */
const PREPARE = `
mount -t tmpfs -o mode=755 tmpfs /run && mkdir /run/netns && ip link set lo up || exit 125
cp -a /etc /run/etc && rm -f /run/etc/resolv.conf* && echo nameserver 192.0.2.53 >/run/etc/resolv.conf || exit 125
mount --bind /run/etc /etc || exit 125
if [ "$(stat -c %a /dev/net/tun 2>&1)" != 666 ] && mkdir -p /dev/net && mount -t tmpfs tmpfs /dev/net; then
  mknod -m 666 /dev/net/tun c 10 200 2>/dev/null || umount /dev/net
fi`;

/**
 * The first process of the sandbox. It stays a shell, which reaps orphans; Node would leave them as zombies. The
 * temporary folder is in memory, and open to other users.
 */
const INIT = `${PREPARE}
TMPDIR=$(mktemp -d) && mount -t tmpfs -o mode=755 tmpfs "$TMPDIR" && export TMPDIR || exit 125
"$@"
`;

/** Why this process cannot create a sandbox, or undefined if it can. */
export function whyNoSandbox(): string | undefined {
  if (process.geteuid?.() !== 0) return 'not root';
  const { error, status, stderr } = spawnSync('unshare', [...NAMESPACES, 'sh', '-c', PREPARE], {
    encoding: 'utf8',
  });
  if (error !== undefined) return `cannot start unshare: ${error.message}`;
  return status === 0 ? undefined : stderr.trim().split('\n')[0] || `unshare ended with status ${status}`;
}

/**
 * Runs this program again inside a sandbox, and waits until it ends.
 *
 * @returns its exit status
 */
export function runInSandbox(): Promise<number> {
  const program = [process.execPath, ...process.execArgv, ...process.argv.slice(1)];
  // A folder in /tmp: nothing may be mounted over /tmp itself, since this program may be there.
  const temporary = mkdtempSync(join(tmpdir(), 'lametun-tests-'));
  chmodSync(temporary, 0o755); // some tests run programs as other users
  // With setpriv the kernel ends the sandbox if this process is killed.
  const child = spawn(
    'setpriv',
    ['--pdeathsig', 'KILL', 'unshare', ...NAMESPACES, 'sh', '-c', INIT, 'sh', ...program],
    {
      stdio: ['ignore', 'inherit', 'inherit'],
      env: { ...process.env, [SANDBOX_VARIABLE]: '1', TMPDIR: temporary },
    },
  );
  // The terminal sends Ctrl-C to the program inside as well. unshare(1) blocks both signals.
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
 * Gives each test file its own sandbox inside this one, so that files that run at the same time do not see each other's
 * namespaces, interfaces and files.
 *
 * Node's test runner has no option for this, but it starts each file with `process.execPath`.
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
  // No exec: the shell ends at the signal that unshare(1) blocks, and everything else ends with it.
  writeFileSync('/run/node', `#!/bin/sh\n${words.map(quote).join(' ')} "$@"\nexit $?\n`, { mode: 0o755 });
  process.execPath = '/run/node';
}

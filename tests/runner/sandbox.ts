import { spawn, spawnSync } from 'node:child_process';
import { constants } from 'node:os';

/** Set for everything that runs inside the sandbox. */
export const SANDBOX_VARIABLE = 'LAMETUN_SANDBOX';

/**
 * What the sandbox has of its own: the network, so that no device, route or firewall rule of the machine is
 * touched; the mounts, for a /run of its own where `ip netns` keeps its names; and the process ids, because
 * with the first of them the kernel ends all the others, and so removes whatever a crash left behind.
 */
const NAMESPACES = ['--net', '--mount', '--pid', '--fork', '--kill-child', '--mount-proc'];

/**
 * The first process of the sandbox. It stays a shell: one that never waits for its orphans, as node would not,
 * collects them for ever. A machine without a TUN device node gets one in a /dev/net of its own; where making
 * it is forbidden the tests that need it say so.
 */
const INIT = `
mount -t tmpfs -o mode=755 tmpfs /run && mkdir /run/netns && ip link set lo up || exit 125
if [ ! -c /dev/net/tun ] && mkdir -p /dev/net && mount -t tmpfs tmpfs /dev/net; then
  mknod -m 666 /dev/net/tun c 10 200 || umount /dev/net
fi
"$@"
`;

/** Why this process cannot have a sandbox, or undefined when it can. */
export function whyNoSandbox(): string | undefined {
  if (process.geteuid?.() !== 0) return 'not root';
  const { error, status, stderr } = spawnSync('unshare', [...NAMESPACES, 'sh', '-c', INIT, 'sh', 'true'], {
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
  // Should this process be killed, setpriv has the kernel end the sandbox too.
  const child = spawn(
    'setpriv',
    ['--pdeathsig', 'KILL', 'unshare', ...NAMESPACES, 'sh', '-c', INIT, 'sh', ...program],
    { stdio: ['ignore', 'inherit', 'inherit'], env: { ...process.env, [SANDBOX_VARIABLE]: '1' } },
  );
  // A Ctrl-C reaches the program inside by way of the terminal; unshare(1) itself blocks both signals.
  process.on('SIGINT', () => {});
  process.on('SIGTERM', () => child.kill('SIGKILL'));
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code, signal) => resolve(code ?? 128 + constants.signals[signal ?? 'SIGKILL']));
  });
}

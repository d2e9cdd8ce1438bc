import { spawnSync } from 'node:child_process';
import { accessSync, closeSync, constants, openSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { howToGet } from '../linux/process/program.js';

const PROGRAMS = ['unshare', 'mount', 'ip', 'nft', 'ping'] as const;

const isRoot = (): boolean => process.geteuid?.() === 0;

/** The namespaces that the demo lives in. Without root it is root in a user namespace of its own. */
export const unshareArguments = (): string[] => [
  ...(isRoot() ? [] : ['--user', '--map-root-user']),
  '--mount',
  '--net',
  '--pid',
  '--fork',
  '--kill-child',
];

/** The words before a command that run it in the demo's namespaces, from another terminal. */
export const enterWords = (pid: number): string =>
  isRoot()
    ? `${process.env['SUDO_USER'] === undefined ? '' : 'sudo '}nsenter -t ${pid} -m -p`
    : `nsenter -t ${pid} -U --preserve-credentials -m -p`;

/** Tells the sandbox an ordinary user's name. Without root, the sandbox has only one user, called root. */
export const OWNER_VARIABLE = 'LAMETUN_DEMO_OWNER';
const owner = (): string => {
  const { SUDO_USER: caller = 'root' } = process.env;
  if (!isRoot()) return 'root';
  return caller === 'root' ? 'nobody' : caller;
};

/** For the programs that the demo runs: in English, and with the folders that Debian leaves out of users' PATH. */
export function environment(): NodeJS.ProcessEnv {
  const path = [process.env['PATH'], '/usr/sbin', '/sbin', '/usr/bin', '/bin']
    .filter(Boolean)
    .join(delimiter);
  return { ...process.env, PATH: path, LC_ALL: 'C', [OWNER_VARIABLE]: owner() };
}

/**
 * Finds out whether the demo can run here, by making a small part of it.
 *
 * @returns what is missing and how to get it, in one line, or undefined when nothing is
 */
export function whatIsMissing(): string | undefined {
  if (process.platform !== 'linux') return `it needs Linux; this is ${process.platform}`;
  const missing = PROGRAMS.filter((program) => !isInstalled(program));
  if (missing.length > 0) return `no ${missing.join(', ')} here: ${getAll(missing)}`;
  try {
    closeSync(openSync('/dev/net/tun', 'r+'));
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EACCES' || code === 'EPERM') return '/dev/net/tun is for root only: run it with sudo';
    return `no TUN device (/dev/net/tun: ${code}): \`sudo modprobe tun\`, or in a container \`--device /dev/net/tun\``;
  }
  return whyNoNamespaces();
}

/** Without `-n`, mount(8) makes a folder /run/mount first, in the machine's own /run. */
export const OWN_RUN = ['mount', '-n', '-t', 'tmpfs', 'tmpfs', '/run'] as const;

const PROBE = [
  OWN_RUN.join(' '),
  'ip netns add probe',
  'ip netns exec probe ip tuntap add dev tun0 mode tun',
  'ip link add probe0 type veth peer name probe1',
  "ip netns exec probe nft 'table inet p { chain n { type nat hook postrouting priority srcnat; masquerade; }; }'",
].join(' && ');

function whyNoNamespaces(): string | undefined {
  const options = { encoding: 'utf8', env: environment(), timeout: 10_000 } as const;
  const probe = spawnSync('unshare', [...unshareArguments(), 'sh', '-c', PROBE], options);
  if (probe.status === 0) return undefined;
  const why = (probe.stderr ?? '').trim().split('\n')[0] || `status ${probe.status}`;
  const how = isRoot()
    ? 'a container needs `--privileged` for it'
    : 'run it with sudo, or allow user namespaces: `sudo sysctl kernel.unprivileged_userns_clone=1 ' +
      'kernel.apparmor_restrict_unprivileged_userns=0` (whichever of the two this kernel has)';
  return `no network namespaces (${why}): ${how}`;
}

function getAll(programs: readonly string[]): string {
  return `apt install ${[...new Set(programs.map((program) => howToGet(program).split(' ').at(-1)))].join(' ')}`;
}

function isInstalled(program: string): boolean {
  return environment()
    ['PATH']!.split(delimiter)
    .some((folder) => {
      try {
        accessSync(join(folder, program), constants.X_OK);
        return true;
      } catch {
        return false;
      }
    });
}

import { NEEDED, NEEDED_IN_HOMES } from '../../linux/process/capabilities.js';
import { quotePath } from './quote.js';

/** The folders that `ProtectHome=` hides, and those that `PrivateTmp=` replaces: systemd.exec(5). */
const HOMES = ['/home', '/root', '/run/user'] as const;
const TEMPORARY = ['/tmp', '/var/tmp'] as const;

/** What a member writes: resolv.conf, which is replaced by rename(2); notes and sockets; forwarding. */
const WRITTEN = ['/etc', '/run', '/proc/sys/net'] as const;
/** Folders in these that decide what other programs run, or whom they trust. */
const KEPT = [
  ...['systemd', 'ssh', 'pam.d', 'security', 'sudoers.d', 'polkit-1', 'cron.d', 'cron.daily', 'cron.hourly'],
  ...['init.d', 'profile.d', 'ld.so.conf.d', 'apt', 'ssl', 'udev', 'modprobe.d', 'modules-load.d', 'default'],
].map((name) => `/etc/${name}`);
const KEPT_IN_RUN = ['/run/systemd', '/run/dbus', '/run/udev', '/run/user'] as const;

export interface Sandbox {
  /** What the program runs or reads, absolute paths. It must not be hidden. */
  readonly runs: readonly string[];
  /** What it writes, absolute paths; they must exist. */
  readonly writes: readonly string[];
  /** Whether it is a member of a network, which also sets up names, routes and forwarding. */
  readonly isMember: boolean;
}

/**
 * The sandbox of a service that moves packets, systemd.exec(5). It leaves out:
 *
 * - `MemoryDenyWriteExecute`: Node.js compiles while it runs.
 * - `PrivateNetwork`, `IPAddressDeny`, `PrivateUsers`: the service is about the machine's network.
 * - `ProcSubset`, for a member: it hides /proc/sys.
 */
export function sandbox({ runs, writes, isMember }: Sandbox): string {
  const needs = (hidden: readonly string[]): boolean =>
    [...runs, ...writes].some((path) => hidden.some((folder) => `${path}/`.startsWith(`${folder}/`)));
  const capabilities = [...NEEDED, ...(needs(HOMES) ? [NEEDED_IN_HOMES] : [])];
  const writable = [...(isMember ? WRITTEN : []), ...writes];
  const paths = isMember
    ? `ReadWritePaths=${writable.map(quotePath).join(' ')}
ReadOnlyPaths=${[...KEPT, ...KEPT_IN_RUN].map((path) => `-${path}`).join(' ')}
InaccessiblePaths=-/run/systemd/private`
    : 'ProcSubset=pid';
  return `# For a TUN device, addresses and routes; for a port below 1024.
CapabilityBoundingSet=${capabilities.map((name) => `CAP_${name}`).join(' ')}
NoNewPrivileges=yes
PrivateDevices=yes
BindPaths=/dev/net/tun
DeviceAllow=/dev/net/tun rw
PrivateMounts=yes
ProtectProc=invisible
ProtectSystem=strict
${paths}
ProtectHome=${needs(HOMES) ? 'no' : 'yes'}
PrivateTmp=${needs(TEMPORARY) ? 'no' : 'yes'}
ProtectKernelTunables=yes
ProtectControlGroups=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectClock=yes
ProtectHostname=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
RestrictNamespaces=yes
RestrictSUIDSGID=yes
RestrictRealtime=yes
LockPersonality=yes
RemoveIPC=yes
KeyringMode=private
UMask=0077
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
SystemCallErrorNumber=EPERM
# Keys must not get into a core file.
LimitCORE=0
# No MemoryDenyWriteExecute: Node.js compiles while it runs.
`;
}

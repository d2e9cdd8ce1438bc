import { existsSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';

/** Programs that configure networks, by the names that the kernel has: 15 bytes at most. */
const MANAGERS: Readonly<Record<string, string>> = {
  NetworkManager: 'NetworkManager',
  'systemd-network': 'systemd-networkd',
  'systemd-resolve': 'systemd-resolved',
  firewalld: 'firewalld',
  connmand: 'ConnMan',
  dhclient: 'dhclient',
  dhcpcd: 'dhcpcd',
  udhcpc: 'udhcpc',
  dockerd: 'Docker',
  podman: 'Podman',
  netplan: 'netplan',
  tailscaled: 'Tailscale',
  'wg-quick': 'wg-quick',
  keepalived: 'keepalived',
  zebra: 'FRR',
  bird: 'BIRD',
};

/** The services of some of them, where systemd hides processes from this one: `ProtectProc=`, systemd.exec(5). */
const SERVICES: Readonly<Record<string, string>> = {
  'NetworkManager.service': 'NetworkManager',
  'systemd-networkd.service': 'systemd-networkd',
  'systemd-resolved.service': 'systemd-resolved',
  'firewalld.service': 'firewalld',
  'connman.service': 'ConnMan',
  'dhcpcd.service': 'dhcpcd',
  'docker.service': 'Docker',
  'tailscaled.service': 'Tailscale',
  'keepalived.service': 'keepalived',
  'frr.service': 'FRR',
  'bird.service': 'BIRD',
};
const SLICE = '/sys/fs/cgroup/system.slice';

/** Names of running programs that configure networks, in this network namespace or an unknown one. */
function likelyPrograms(): string[] {
  if (!existsSync('/proc/1')) return existsSync(SLICE) ? namesIn(SERVICES, readdirSync(SLICE)) : [];
  const here = namespaceOf('thread-self');
  const found = readdirSync('/proc').flatMap((pid) => {
    if (!/^\d+$/.test(pid)) return [];
    try {
      const manager = MANAGERS[readFileSync(`/proc/${pid}/comm`, 'utf8').trim()];
      return manager !== undefined && (namespaceOf(pid) ?? here) === here ? manager : [];
    } catch {
      return []; // the process has ended
    }
  });
  return [...new Set(found)].sort();
}

const namesIn = (names: Readonly<Record<string, string>>, found: readonly string[]): string[] =>
  found.flatMap((each) => names[each] ?? []).sort();

/** The likely programs, in a few words, where nothing else is known about a change. */
export function probablyBy(): string | undefined {
  const programs = likelyPrograms();
  return programs.length === 0 ? undefined : `probably ${programs.join(' or ')}`;
}

/** Undefined if the process has rights that this one lacks: then the kernel does not say. */
function namespaceOf(pid: string): string | undefined {
  try {
    return readlinkSync(`/proc/${pid}/ns/net`);
  } catch {
    return undefined;
  }
}

import { readdirSync, readFileSync, readlinkSync } from 'node:fs';

/** Programs that set up networks, as the kernel calls them: their names are cut to 15 bytes. */
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

/** Names of running programs that change the settings of networks, in this network namespace or one that is not told. */
function likelyPrograms(): string[] {
  const here = namespaceOf('thread-self');
  const found = readdirSync('/proc').flatMap((pid) => {
    if (!/^\d+$/.test(pid)) return [];
    try {
      const manager = MANAGERS[readFileSync(`/proc/${pid}/comm`, 'utf8').trim()];
      return manager !== undefined && (namespaceOf(pid) ?? here) === here ? manager : [];
    } catch {
      return []; // it has ended
    }
  });
  return [...new Set(found)].sort();
}

/** Who may have changed something of which nothing else is known, in a few words. */
export function probablyBy(): string | undefined {
  const programs = likelyPrograms();
  return programs.length === 0 ? undefined : `probably ${programs.join(' or ')}`;
}

/** Undefined where the process has rights that this one has not: the kernel does not tell then. */
function namespaceOf(pid: string): string | undefined {
  try {
    return readlinkSync(`/proc/${pid}/ns/net`);
  } catch {
    return undefined;
  }
}

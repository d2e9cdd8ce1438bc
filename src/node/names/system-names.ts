import { existsSync, readFileSync } from 'node:fs';
import { runProgram } from '../../linux/process/program.js';
import { ResolvConfTakeover } from './resolv-takeover.js';
import type { Siblings } from './siblings.js';

export interface SystemNamesOptions {
  readonly device: string;
  /** Where the node's resolver listens: its inner IPv4 address. */
  readonly address: string;
  /** `home.lametun`. */
  readonly domain: string;
  /** The zones of the network's addresses: `7.10.in-addr.arpa`. */
  readonly reverse?: readonly string[];
  readonly stateDirectory: string;
  readonly log: (message: string) => void;
  /** The other networks' nodes on this machine. */
  readonly siblings?: Siblings | undefined;
  /** For tests: /etc/resolv.conf. */
  readonly resolvConf?: string;
}

/** How the machine's programs find the network's names. */
export interface SystemNames {
  readonly how: 'systemd-resolved' | 'resolv.conf' | 'none';
  /** With `none`: why, and what to do. */
  readonly why: string | undefined;
  /** With `resolv.conf`: the device of another network, whose node has the file and answers for this one. */
  readonly through?: string | undefined;
  /** The name servers for all other names; with systemd-resolved none, since it does not ask us for those. */
  upstreams(): readonly string[];
  /** Undoes it. A second call does nothing. */
  stop(): void;
}

/**
 * Tells the machine to ask the node's resolver: systemd-resolved where that is in charge, else by /etc/resolv.conf.
 * Never throws: without names a node still works, and says so.
 */
export function startSystemNames(options: SystemNamesOptions): SystemNames {
  if (isResolvedInCharge(options.resolvConf)) {
    try {
      return tellResolved(options);
    } catch (error) {
      options.log(`systemd-resolved was not told of ${options.domain}: ${(error as Error).message}`);
    }
  }
  try {
    const { address, domain, device, stateDirectory, log, siblings, resolvConf: path } = options;
    const taken = new ResolvConfTakeover({ address, domain, device, stateDirectory, log, siblings, path });
    return {
      get how() {
        return taken.problem === undefined ? 'resolv.conf' : 'none';
      },
      get why() {
        return taken.problem;
      },
      get through() {
        return taken.through;
      },
      upstreams: () => taken.upstreams(),
      stop: () => taken.stop(),
    };
  } catch (error) {
    return { how: 'none', why: (error as Error).message, upstreams: () => [], stop: () => {} };
  }
}

const RESOLVED = '/run/systemd/resolve';
/** resolved.conf(5): the stubs by which programs that know only resolv.conf reach systemd-resolved. */
const STUB = /^\s*nameserver\s+127\.0\.0\.5[34]\s*$/m;
const TIMEOUT = 5000; // milliseconds

/** Whether programs ask systemd-resolved: by its stub in resolv.conf, or by its module of the name service switch. */
function isResolvedInCharge(resolvConf = '/etc/resolv.conf'): boolean {
  if (!existsSync(RESOLVED)) return false;
  const read = (path: string): string => {
    try {
      return readFileSync(path, 'utf8');
    } catch {
      return '';
    }
  };
  return STUB.test(read(resolvConf)) || /^\s*hosts:.*\bresolve\b/m.test(read('/etc/nsswitch.conf'));
}

/** Settings of the link, which go with it: nothing to put back after a kill. resolvectl(1). */
function tellResolved({ device, address, domain, reverse = [], log }: SystemNamesOptions): SystemNames {
  const resolvectl = (...args: string[]): string =>
    runProgram('resolvectl', args, { timeout: TIMEOUT, purpose: 'naming nodes' });
  const quietly = (...args: string[]): void => {
    try {
      resolvectl(...args);
    } catch {} // older ones do not know it, and can do without
  };
  resolvectl('dns', device, address);
  // With `~` names in it are asked here; without, what has no dot is looked for in it, too.
  resolvectl('domain', device, domain, ...[domain, ...reverse].map((zone) => `~${zone}`));
  quietly('default-route', device, 'false');
  quietly('dnssec', device, 'no'); // nobody signs a name that exists only here
  quietly('dnsovertls', device, 'no');
  let told = true;
  return {
    how: 'systemd-resolved',
    why: undefined,
    upstreams: () => [],
    stop() {
      if (!told) return;
      told = false;
      try {
        resolvectl('revert', device);
      } catch (error) {
        log(`systemd-resolved forgets ${domain} when ${device} goes: ${(error as Error).message}`);
      }
    },
  };
}

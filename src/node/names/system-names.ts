import { existsSync, readFileSync } from 'node:fs';
import { runProgram } from '../../linux/process/program.js';
import { ResolvConfTakeover, type TakeoverOptions } from './resolv-takeover.js';

export interface SystemNamesOptions extends TakeoverOptions {
  /** The zones of the network's addresses: `7.10.in-addr.arpa`. */
  readonly reverse?: readonly string[];
}

/** How the programs of the machine find the network's names. */
export interface SystemNames {
  readonly how: 'systemd-resolved' | 'resolv.conf' | 'none';
  /** Why it is `none`, and what to do. */
  readonly why: string | undefined;
  /** The interface of another network whose node has `resolv.conf` and answers for this one. */
  readonly through?: string | undefined;
  /** The name servers for all other names. None with systemd-resolved, which asks the node only for its network. */
  upstreams(): readonly string[];
  /** Undoes it. A second call does nothing. */
  stop(): void;
}

/**
 * Makes programs ask the node's resolver: through systemd-resolved if they use that, else through /etc/resolv.conf. Never
 * throws: a node works without names, and says so.
 */
export function startSystemNames(options: SystemNamesOptions): SystemNames {
  if (isResolvedInCharge(options.resolvConf)) {
    try {
      return tellResolved(options);
    } catch (error) {
      options.log(`cannot tell systemd-resolved about ${options.domain}: ${(error as Error).message}`);
    }
  }
  try {
    return new ResolvConfTakeover(options);
  } catch (error) {
    return { how: 'none', why: (error as Error).message, upstreams: () => [], stop: () => {} };
  }
}

const RESOLVED = '/run/systemd/resolve';
/** The addresses of systemd-resolved for programs that use only resolv.conf, resolved.conf(5). */
const STUB = /^\s*nameserver\s+127\.0\.0\.5[34]\s*$/m;
const TIMEOUT = 5000; // milliseconds

/** Whether programs ask systemd-resolved, through resolv.conf or through its module in nsswitch.conf. */
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

/** Sets resolvectl(1) settings of the link. They end with the link, so a kill leaves nothing behind. */
function tellResolved({ device, address, domain, reverse = [], log }: SystemNamesOptions): SystemNames {
  const resolvectl = (...args: string[]): string =>
    runProgram('resolvectl', args, { timeout: TIMEOUT, purpose: 'naming nodes' });
  const quietly = (...args: string[]): void => {
    try {
      resolvectl(...args);
    } catch {} // older versions lack it, and work without it
  };
  resolvectl('dns', device, address);
  // With `~`, names in the domain are asked here. Without, it is also a search domain for names without a dot.
  resolvectl('domain', device, domain, ...[domain, ...reverse].map((zone) => `~${zone}`));
  quietly('default-route', device, 'false');
  quietly('dnssec', device, 'no'); // names that exist only here are not signed
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
        log(`systemd-resolved keeps ${domain} until ${device} is removed: ${(error as Error).message}`);
      }
    },
  };
}

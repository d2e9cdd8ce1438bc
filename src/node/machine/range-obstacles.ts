import { formatAddress } from '../../ip/address.js';
import { type Cidr, contains, covers, formatCidr, overlap, parseCidr, standsForAll } from '../../ip/cidr.js';
import { LOCAL_TABLE, MAIN_TABLE, type Rule } from '../../linux/net/routing.js';
import type { Routing, TableRoute } from './ranges.js';

/** What conflicts with a network's range on this machine. */
export interface Obstacles {
  /** Packets of the network, or others that this machine needs, would be lost: this machine cannot be in the network. */
  readonly refusals: readonly string[];
  /** The network works, but something else does not. */
  readonly warnings: readonly string[];
}

/** RFC 6598. Tailscale drops packets of this range that come from other interfaces, and carriers route all of it. */
const SHARED_SPACE = parseCidr('100.64.0.0/10')!;

/**
 * Finds other uses of a network's ranges, by walking through this machine's routing rules as the kernel does for a packet
 * to the network. The network's own route is in the main table. A route in an earlier table, or a more specific one in the
 * main table, captures packets. A wider route in the main table yields to the network's.
 */
export function rangeObstacles(ranges: readonly Cidr[], routing: Routing): Obstacles {
  const found = ranges.map((range) => obstaclesOf(range, routing));
  return {
    refusals: found.flatMap(({ refusals }) => refusals),
    warnings: found.flatMap(({ warnings }) => warnings),
  };
}

function obstaclesOf(range: Cidr, { routes, rules }: Routing): Obstacles {
  const name = formatCidr(range);
  const near = routes.filter(({ destination }) => overlap(destination, range));
  const consultedTables = new Set<number>();
  const refusals: string[] = [];
  const warnings: string[] = [];
  for (const { rule, isForAll } of consulted(rules, range)) {
    if (rule.action !== 'lookup') {
      refusals.push(`the routing rule ${rule.priority} rejects packets to ${name} (${rule.action})`);
      if (isForAll) break;
      continue;
    }
    const counted = near.filter(
      ({ table, destination }) => table === rule.table && destination.prefix > rule.suppressPrefix,
    );
    consultedTables.add(rule.table);
    const inside = counted.filter(({ destination }) => covers(range, destination));
    if (rule.table === MAIN_TABLE) {
      refusals.push(...inside.map((route) => `${name} collides with ${route.name}`));
      warnings.push(
        ...counted
          .filter(
            (route) =>
              !inside.includes(route) && route.kind === 'unicast' && !standsForAll(route.destination),
          )
          .map(
            (route) =>
              `The network's range ${name} is part of ${route.name}: other machines at these addresses cannot be reached while lametun runs`,
          ),
      );
      if (isForAll && range.prefix > rule.suppressPrefix) break; // the kernel finds the network's own route here
    } else if (rule.table === LOCAL_TABLE) {
      refusals.push(...inside.map((route) => `${name} collides with ${route.name}`));
    } else {
      refusals.push(
        ...takers(counted, inside).map(
          (route) =>
            `the routing rule ${rule.priority} sends packets to ${name} to table ${rule.table}, which has ${route.name}`,
        ),
      );
    }
  }
  for (const route of near) {
    if (consultedTables.has(route.table) || route.kind !== 'unicast' || standsForAll(route.destination))
      continue;
    warnings.push(
      `The network's range ${name} collides with ${route.name} of routing table ${route.table}: packets that use that table do not reach the network`,
    );
  }
  refusals.push(...gateways(range, routes), ...sharers(range, routes));
  return { refusals, warnings };
}

interface Consulted {
  readonly rule: Rule;
  /** Whether all packets to the network reach this rule, not only some. */
  readonly isForAll: boolean;
}

/** The rules that the kernel consults for packets to a network, in order. */
function* consulted(rules: readonly Rule[], range: Cidr): Generator<Consulted> {
  const family = range.address.length === 4 ? 4 : 6;
  const ordered = rules.filter((rule) => rule.family === family).sort((a, b) => a.priority - b.priority);
  let from = 0;
  for (const rule of ordered) {
    if (rule.priority < from) continue;
    const matched = matches(rule, range);
    if (matched === 'none' || rule.action === 'nop') continue;
    if (rule.action !== 'goto') yield { rule, isForAll: matched === 'all' };
    else if (matched === 'all') from = rule.target ?? 0;
  }
}

/** Which packets of this machine's programs to a network a rule matches. */
function matches(rule: Rule, range: Cidr): 'all' | 'some' | 'none' {
  const { to, from, inputDevice, outputDevice, mark, mask, isOfMaster, isPartial, isInverted } = rule;
  const isElsewhere =
    (inputDevice !== undefined && inputDevice !== 'lo') ||
    outputDevice !== undefined ||
    isOfMaster ||
    (mark & mask) >>> 0 !== 0 ||
    (to !== undefined && !overlap(to, range)) ||
    (from !== undefined && !overlap(from, range));
  if (isElsewhere) return isInverted ? 'all' : 'none';
  const isWhole = (to === undefined || covers(to, range)) && from === undefined && !isPartial;
  if (!isWhole) return 'some';
  return isInverted ? 'none' : 'all';
}

/** The routes of a table that packets to a network take: those inside the network, and the most specific around it. */
function takers(counted: readonly TableRoute[], inside: readonly TableRoute[]): TableRoute[] {
  const [around] = counted
    .filter((route) => !inside.includes(route))
    .sort((a, b) => b.destination.prefix - a.destination.prefix);
  return [...inside, ...(around === undefined ? [] : [around])].filter(({ kind }) => kind !== 'throw');
}

const gateways = (range: Cidr, routes: readonly TableRoute[]): string[] =>
  routes.flatMap(({ gateway, name }) =>
    gateway !== undefined && contains(range, gateway)
      ? [`${formatCidr(range)} contains ${formatAddress(gateway)}, the gateway of ${name}`]
      : [],
  );

function sharers(range: Cidr, routes: readonly TableRoute[]): string[] {
  if (!overlap(SHARED_SPACE, range)) return [];
  const other = routes.find(
    ({ destination, kind }) => (kind === 'unicast' || kind === 'local') && covers(SHARED_SPACE, destination),
  );
  return other === undefined
    ? []
    : [
        `${formatCidr(range)} is part of the shared address space ${formatCidr(SHARED_SPACE)}, which Tailscale or a carrier uses here: ${other.name}`,
      ];
}

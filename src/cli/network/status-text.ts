import type {
  HubStatus,
  NodeStatus,
  PathStatus,
  PeerStatus,
  PingAnswer,
  RelayStatus,
} from '../../node/control/control.js';
import { wrap } from '../../wrap.js';
import { shareText } from './admin-text.js';
import { bytesText, durationText, latencyText, table, terminalWidth } from './table.js';

/** The first column of the lines about the node itself. */
const ABOUT = 'this node  ';
/** In front of a detail of the line above. */
const INDENT = '  ';

/** What `lametun status` prints. @param now milliseconds since 1970 @param width of the terminal; undefined: unlimited */
export function statusText(status: NodeStatus, now: number, width = terminalWidth()): string {
  const { network, self, peers, shares, names, warnings } = status;
  const about = table([
    ['network', `${network.name}, ${network.ipv4} and ${network.ipv6}, MTU ${network.mtu}`],
    ['this node', `${self.fullName}, ${addressText(self)}${roleText(self)}`],
    ['interface', `${self.interface}, UDP port ${self.port}`],
    ['hub', hubText(status.hub, now)],
    ['relay', relayText(status.relay)],
    ['names', namesText(names)],
    ...(shares.length > 0 ? [['shares', shares.map(shareText).join(', ')]] : []),
  ]);
  return [
    ...about.flatMap((line) => wrap(line, width, ABOUT.length)),
    // Before the nodes: there may be thousands.
    ...(warnings.length > 0 ? ['', ...warnings.flatMap((text) => wrap(`Warning: ${text}`, width))] : []),
    '',
    ...(peers.length === 0 ? ['No other nodes yet.'] : peersTable(peers, now, width)),
  ].join('\n');
}

const roleText = ({ admin, pending }: NodeStatus['self']): string =>
  admin ? (pending ? ', admin once approved' : ', admin') : '';

const addressText = ({ ipv4, ipv6 }: NodeStatus['self']): string =>
  ipv4 === undefined ? 'no address until it is approved' : `${ipv4}, ${ipv6}`;

const namesText = ({ how, why, through }: NodeStatus['names']): string =>
  how === 'none'
    ? `none: ${why ?? 'not set up'}`
    : `via ${how}${through === undefined ? '' : `, through ${through}`}`;

const HUB: Readonly<Record<HubStatus['state'], readonly [string, preposition: string]>> = {
  connected: ['connected', 'to'],
  connecting: ['connecting', 'to'],
  away: ['unreachable', 'at'],
  refused: ['refused', 'by'],
};

function hubText({ state, address, why, since }: HubStatus, now: number): string {
  const [what, preposition] = HUB[state];
  const where = address === undefined ? '' : ` ${preposition} ${address}`;
  const reason = why === undefined ? '' : `: ${why}`;
  return `${what}${where} for ${durationText(now - since)}${reason}`;
}

const VIA = { udp: 'over UDP', websocket: 'over WebSocket', none: 'none' } as const;
const relayText = ({ via, why }: RelayStatus): string =>
  why === '' || via === 'udp' ? VIA[via] : `${VIA[via]}: ${why}`;

/** A line for each node, and below it what fits no column: why its path is not direct, and what it shares. */
function peersTable(peers: readonly PeerStatus[], now: number, width: number | undefined): string[] {
  const rows = peers.map(({ name, ipv4, path, received, sent, lastHandshake }) => [
    name,
    ipv4,
    path.kind === 'direct' ? pathText(path) : path.kind,
    path.rttMs === undefined ? '' : latencyText(path.rttMs),
    bytesText(received),
    bytesText(sent),
    lastHandshake === 0 ? 'never' : `${durationText(now - lastHandshake)} ago`,
  ]);
  const [head, ...lines] = table([['NODE', 'ADDRESS', 'PATH', 'LATENCY', 'IN', 'OUT', 'HANDSHAKE'], ...rows]);
  const below = ({ path, shares }: PeerStatus): string[] => [
    ...(path.lastSeen === undefined ? [] : [`last seen ${durationText(now - path.lastSeen)} ago`]),
    ...(path.kind === 'direct' || path.why === '' ? [] : [path.why]),
    ...(shares.length > 0 ? [`shares ${shares.join(', ')}`] : []),
  ];
  const details = peers.map((peer) =>
    below(peer).flatMap((text) => wrap(INDENT + text, width, INDENT.length)),
  );
  return [head!, ...lines.flatMap((line, i) => [line, ...details[i]!])];
}

/** `direct 192.168.1.7:41641`, `relayed: no answer yet from 192.168.1.7:41641`. */
export function pathText({ kind, endpoint, why }: PathStatus): string {
  if (kind === 'direct') return `direct ${endpoint ?? ''}`.trimEnd();
  return why === '' ? kind : `${kind}: ${why}`;
}

export function pingText({ node, address, sequence, rttMs, path }: PingAnswer): string {
  const answer = rttMs === undefined ? 'no answer' : latencyText(rttMs);
  return `${node} (${address}) ${sequence}: ${answer}, ${pathText(path)}`;
}

/** The status line in the foreground: how many nodes there are, and how they are reached. */
export function statusLine({ network, self, hub, peers }: NodeStatus): string {
  const direct = peers.filter(({ path }) => path.kind === 'direct').length;
  const relayed = peers.filter(({ path }) => path.kind === 'relayed').length;
  const offline = peers.filter(({ path }) => path.kind === 'offline').length;
  const others = peers.length === 1 ? '1 other node' : `${peers.length} other nodes`;
  const who =
    peers.length === 0
      ? 'no other nodes yet'
      : `${others}, ${direct} direct, ${relayed} relayed${offline > 0 ? `, ${offline} offline` : ''}`;
  return `${self.name}.${network.name} ${self.ipv4 ?? 'pending approval'} · hub ${HUB[hub.state][0]} · ${who}`; // a narrow terminal cuts off the end
}

/** One line about a hub, for `systemctl status`. */
export const hubLine = (
  network: string,
  port: number,
  { members, online }: { readonly members: number; readonly online: number },
): string =>
  `hub of ${network}, port ${port}: ${members === 1 ? '1 member' : `${members} members`}, ${online} online`;

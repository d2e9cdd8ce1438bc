import type {
  HubStatus,
  NodeStatus,
  PathStatus,
  PeerStatus,
  PingAnswer,
  RelayStatus,
} from '../../node/control/control.js';
import { shareText } from './admin-text.js';
import { bytesText, durationText, latencyText, table, terminalWidth, wrap } from './table.js';

/** The first column of what is said of the node itself. */
const ABOUT = 'this node  ';
/** Before what is said of the line above. */
const INDENT = '  ';

/** What `lametun status` prints. @param now milliseconds since 1970 @param width of the terminal; undefined: any */
export function statusText(status: NodeStatus, now: number, width = terminalWidth()): string {
  const { network, self, peers, shares, names, warnings } = status;
  const about = table([
    ['network', `${network.name}, ${network.ipv4} and ${network.ipv6}, MTU ${network.mtu}`],
    ['this node', `${self.fullName}, ${addressText(self)}${roleText(self)}`],
    ['interface', `${self.device}, UDP port ${self.port}`],
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
    ...(peers.length === 0 ? ['There is nobody else yet.'] : peersTable(peers, now, width)),
  ].join('\n');
}

const roleText = ({ admin, pending }: NodeStatus['self']): string =>
  admin ? (pending ? ', admin once approved' : ', admin') : '';

const addressText = ({ ipv4, ipv6 }: NodeStatus['self']): string =>
  ipv4 === undefined ? 'no address before it is approved' : `${ipv4}, ${ipv6}`;

const namesText = ({ how, why, through }: NodeStatus['names']): string =>
  how === 'none'
    ? `none: ${why ?? 'not set up'}`
    : `by ${how}${through === undefined ? '' : `, through the lametun on ${through}`}`;

function hubText({ state, address, why, since }: HubStatus, now: number): string {
  const where = address === undefined ? '' : state === 'connected' ? ` to ${address}` : ` ${address}`;
  const reason = why === undefined ? '' : `: ${why}`;
  return `${state}${where} for ${durationText(now - since)}${reason}`;
}

const VIA = { udp: 'by UDP', websocket: 'by WebSocket', none: 'none' } as const;
const relayText = ({ via, why }: RelayStatus): string =>
  why === '' || via === 'udp' ? VIA[via] : `${VIA[via]}: ${why}`;

/** A line for each, and below it what does not fit into columns: why it is not direct, and what it shares. */
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

/** One line for the foreground: how many are here, and how they are reached. */
export function statusLine({ network, self, hub, peers }: NodeStatus): string {
  const direct = peers.filter(({ path }) => path.kind === 'direct').length;
  const relayed = peers.filter(({ path }) => path.kind === 'relayed').length;
  const offline = peers.filter(({ path }) => path.kind === 'offline').length;
  const others = peers.length === 1 ? '1 other node' : `${peers.length} other nodes`;
  const who =
    peers.length === 0
      ? 'nobody else yet'
      : `${others}, ${direct} direct, ${relayed} relayed${offline > 0 ? `, ${offline} offline` : ''}`;
  return `${self.name}.${network.name} ${self.ipv4 ?? 'waits for approval'} · hub ${hub.state} · ${who}`; // what matters more is cut off later
}

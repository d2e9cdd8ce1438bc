import type {
  HubStatus,
  NodeStatus,
  PathStatus,
  PeerStatus,
  PingAnswer,
  RelayStatus,
} from '../../network/control.js';
import { shareText } from './admin-text.js';
import { bytesText, durationText, latencyText, table } from './table.js';

/** What `lametun status` prints. @param now milliseconds since 1970 */
export function statusText(status: NodeStatus, now: number): string {
  const { network, self, peers, shares, names, warnings } = status;
  const about = table([
    ['network', `${network.name}, ${network.ipv4} and ${network.ipv6}, MTU ${network.mtu}`],
    ['this node', `${self.fullName}, ${self.ipv4}, ${self.ipv6}${self.admin ? ', admin' : ''}`],
    ['interface', `${self.device}, UDP port ${self.port}`],
    ['hub', hubText(status.hub, now)],
    ['relay', relayText(status.relay)],
    ['names', names.how === 'none' ? `none: ${names.why ?? 'not set up'}` : `by ${names.how}`],
    ...(shares.length > 0 ? [['shares', shares.map(shareText).join(', ')]] : []),
  ]);
  const waiting = self.pending
    ? ['', `Waits for an administrator: lametun approve ${self.name}, on the hub's machine`]
    : [];
  return [
    ...about,
    ...waiting,
    '',
    ...(peers.length === 0 ? ['There is nobody else yet.'] : peersTable(peers, now)),
    ...(warnings.length > 0 ? ['', ...warnings.map((warning) => `Warning: ${warning}`)] : []),
  ].join('\n');
}

function hubText({ state, address, why, since }: HubStatus, now: number): string {
  const where = address === undefined ? '' : ` ${address}`;
  const reason = why === undefined ? '' : `: ${why}`;
  return `${state}${where} for ${durationText(now - since)}${reason}`;
}

const VIA = { udp: 'by UDP', websocket: 'by WebSocket', none: 'none' } as const;
const relayText = ({ via, why }: RelayStatus): string => (why === '' ? VIA[via] : `${VIA[via]}: ${why}`);

function peersTable(peers: readonly PeerStatus[], now: number): string[] {
  const rows = peers.map((peer) => [
    peer.name,
    peer.ipv4,
    pathText(peer.path),
    peer.path.rttMs === undefined ? '' : latencyText(peer.path.rttMs),
    `${bytesText(peer.received)} in, ${bytesText(peer.sent)} out`,
    peer.lastHandshake === 0 ? 'never' : `${durationText(now - peer.lastHandshake)} ago`,
    peer.shares.join(', '),
  ]);
  return table([['NODE', 'ADDRESS', 'PATH', 'LATENCY', 'TRAFFIC', 'HANDSHAKE', 'SHARES'], ...rows]);
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
  const others = peers.length === 1 ? '1 other node' : `${peers.length} other nodes`;
  return `${self.name}.${network.name} ${self.ipv4} · ${others}, ${direct} direct, ${relayed} relayed · hub ${hub.state}`;
}

import type { HubStatus, NodeStatus, PeerStatus } from '../../node/control/control.js';
import { pathText } from './status-text.js';

/** Up to this many nodes are named one by one. */
const NAMED = 10;

/**
 * The first status as changes, one line each, as if everything had just become so.
 *
 * @param isHub whether the hub runs in this process: then its connection is no news
 */
export function firstLines(now: NodeStatus, isHub: boolean): string[] {
  const { hub, relay, peers } = now;
  const many = peers.length > NAMED;
  const before: NodeStatus = {
    ...now,
    hub: hub.state === 'connected' && !isHub ? { ...hub, state: 'connecting' } : hub,
    relay: isHub ? relay : { ...relay, via: 'none' },
    peers: many ? peers : [],
    warnings: [],
  };
  return [...changes(before, now), ...(many ? [`${peers.length} other nodes are in the network`] : [])];
}

/** What changed from one status to the next, one line each. */
export function changes(before: NodeStatus, after: NodeStatus): string[] {
  const lines: string[] = [];
  if (before.self.pending && !after.self.pending)
    lines.push(`this node was approved; its addresses are ${after.self.ipv4} and ${after.self.ipv6}`);
  if (before.self.name !== after.self.name) lines.push(`this node is now called ${after.self.name}`);
  if (before.hub.state !== after.hub.state) {
    const why = after.hub.why === undefined ? '' : `: ${after.hub.why}`;
    lines.push(after.hub.state === 'connected' ? 'connected to the hub' : `${HUB[after.hub.state]}${why}`);
  }
  if (before.relay.via !== after.relay.via && after.relay.via !== 'none')
    lines.push(
      after.relay.via === 'udp'
        ? 'connected to the relay over UDP'
        : `connected to the relay over WebSocket${after.relay.why === '' ? '' : `: ${after.relay.why}`}`,
    );
  lines.push(...peerChanges(before.peers, after.peers));
  for (const share of after.shares) {
    const was = before.shares.find(({ network }) => network === share.network);
    if (was?.state !== share.state && share.state !== 'pending')
      lines.push(`share ${share.network} ${share.state}${share.why === undefined ? '' : `: ${share.why}`}`);
  }
  for (const warning of after.warnings)
    if (!before.warnings.includes(warning)) lines.push(`warning: ${warning}`);
  return lines;
}

const HUB: Readonly<Record<Exclude<HubStatus['state'], 'connected'>, string>> = {
  connecting: 'connecting to the hub',
  away: 'hub unreachable',
  refused: 'refused by the hub',
};

function peerChanges(before: readonly PeerStatus[], after: readonly PeerStatus[]): string[] {
  const lines: string[] = [];
  const old = new Map(before.map((peer) => [peer.id, peer]));
  for (const peer of after) {
    const was = old.get(peer.id);
    old.delete(peer.id);
    if (was === undefined)
      lines.push(
        `${peer.name} (${peer.ipv4}) is in the network${peer.path.kind === 'offline' ? ', offline' : ''}`,
      );
    else if (was.name !== peer.name) lines.push(`${was.name} is now called ${peer.name}`);
    else if (was.path.kind !== peer.path.kind || was.path.endpoint !== peer.path.endpoint)
      lines.push(`${peer.name}: ${pathText(peer.path)}`);
  }
  for (const peer of old.values()) lines.push(`${peer.name} (${peer.ipv4}) is no longer in the network`);
  return lines;
}

import type { NodeId } from '../../protocol/node-id.js';
import type { Transfer } from '../../wireguard/activity.js';
import type { HubStatus, NodeStatus, PathStatus, PeerStatus, RelayStatus } from '../control/control.js';
import type { Member } from './members.js';
import type { StoredNode } from './stored.js';

/** What the node's machine knows. */
export interface NodeStatusParts {
  readonly node: StoredNode;
  /** Base64. */
  readonly key: string;
  /** `since` of `hub` and `relay` is in milliseconds of the machine's clock. */
  readonly hub: HubStatus;
  readonly relay: RelayStatus;
  readonly members: Iterable<Member>;
  readonly path: (id: NodeId) => PathStatus;
  /** When a name got its present key, if it had another one before; milliseconds since 1970. */
  readonly keyChangedAt: (name: string) => number | undefined;
  readonly warnings: readonly string[];
}

/** A peer's traffic. */
export interface PeerTransfer extends Transfer {
  /** Milliseconds since 1970; 0 for never. */
  readonly lastHandshake: number;
}

/** What the shell knows. */
export interface StatusSurroundings {
  /** The name that this node asked for when it joined. */
  readonly wished?: string | undefined;
  readonly traffic: (id: NodeId) => PeerTransfer;
  readonly names: NodeStatus['names'];
  /** Whole sentences. */
  readonly warnings: readonly string[];
}

/** A pending node does not ask for the relay. */
const WAITS = 'this node waits for an administrator';

/**
 * The path to a member, for people. A member that is absent from the hub and has no direct path is offline.
 *
 * @param path undefined if its key is invalid @param absence see `Presence` @param wallNow milliseconds since 1970
 */
export function pathStatus(
  path: PathStatus | undefined,
  absence: { readonly ago: number | undefined } | undefined,
  wallNow: number,
): PathStatus {
  if (path === undefined) return { kind: 'none', why: 'its key is invalid', since: wallNow };
  if (absence === undefined || path.kind === 'direct') return path;
  const { ago } = absence;
  const why = ago === undefined ? 'not seen since the hub started' : '';
  return { kind: 'offline', why, since: path.since, ...(ago !== undefined && { lastSeen: wallNow - ago }) };
}

/** @param wallOffset add this to the machine's clock to get milliseconds since 1970 */
export function nodeStatus(
  parts: NodeStatusParts,
  surroundings: StatusSurroundings,
  wallOffset: number,
): NodeStatus {
  const atWall = <T extends { readonly since: number }>(status: T): T => ({
    ...status,
    since: Math.round(status.since + wallOffset),
  });
  const { node, key, members } = parts;
  const [hub, relay] = [atWall(parts.hub), atWall(parts.relay)];
  const { wished, names } = surroundings;
  const { network, you, port } = node;
  const { id, name, ipv4, ipv6, admin, pending, shares } = you;
  const fullName = `${name}.${network.name}.lametun`;
  const peers = [...members].sort((a, b) => (a.name < b.name ? -1 : 1));
  return {
    network,
    self: {
      ...{ id, name, fullName, ipv4, ipv6, key, admin, pending, interface: node.interface, port },
      ...(wished !== undefined && wished !== name && { wished }),
    },
    hub,
    relay: pending && relay.via === 'none' ? { ...relay, why: WAITS } : relay,
    peers: peers.map((member) => peerStatus(member, parts, surroundings)),
    ...{ shares, names },
    warnings: [...ownWarnings(node), ...surroundings.warnings, ...parts.warnings],
  };
}

/** There may be thousands of peers. */
function peerStatus(
  { id, name, ipv4, ipv6, key, shares }: Member,
  { path, keyChangedAt }: NodeStatusParts,
  { traffic }: StatusSurroundings,
): PeerStatus {
  const { received, sent, lastHandshake } = traffic(id);
  const changedAt = keyChangedAt(name);
  const changed = changedAt === undefined ? {} : { keyChangedAt: changedAt };
  return { id, name, ipv4, ipv6, key, ...changed, shares, path: path(id), lastHandshake, received, sent };
}

function ownWarnings({ you }: StoredNode): string[] {
  const refused = you.shares.filter(({ state }) => state === 'refused');
  const pending = you.shares.filter(({ state }) => state === 'pending').map(({ network }) => network);
  const hint = `an administrator: \`lametun approve ${you.name}\` on the hub's machine approves`;
  const warnings = refused.map(
    ({ network, why = 'by an administrator' }) => `The share ${network} of this node is refused: ${why}`,
  );
  if (you.pending) return [`This node waits for ${hint} it`, ...warnings];
  if (pending.length > 0)
    return [`Shares of this node, ${pending.join(', ')}, wait for ${hint} them`, ...warnings];
  return warnings;
}

import type { NodeId } from '../../protocol/node-id.js';
import type { Transfer } from '../../wireguard/activity.js';
import type { HubStatus, NodeStatus, PathStatus, PeerStatus, RelayStatus } from '../control/control.js';
import type { Member } from './members.js';
import type { StoredNode } from './stored.js';

/** What the machine knows of itself. */
export interface NodeStatusParts {
  readonly node: StoredNode;
  /** Base64. */
  readonly key: string;
  /** `since` of these two is of the machine's clock. */
  readonly hub: HubStatus;
  readonly relay: RelayStatus;
  readonly members: Iterable<Member>;
  readonly path: (id: NodeId) => PathStatus;
  /** When a name got another key than it had; milliseconds since 1970. */
  readonly keyChangedAt: (name: string) => number | undefined;
  readonly warnings: readonly string[];
}

/** What is known of a peer's traffic. */
export interface PeerTransfer extends Transfer {
  /** Milliseconds since 1970; 0 for never. */
  readonly lastHandshake: number;
}

/** What the rest of the program knows. */
export interface StatusSurroundings {
  /** What this node asked to be called when it joined. */
  readonly wished?: string | undefined;
  readonly traffic: (id: NodeId) => PeerTransfer;
  readonly names: NodeStatus['names'];
  /** In whole sentences. */
  readonly warnings: readonly string[];
}

/** Nobody has refused it anything: it is not asked for before. */
const WAITS = 'it waits, as this node does, for an administrator';

/**
 * How a member is reached; one that the hub misses and that does not answer directly is offline.
 *
 * @param path undefined where its key is no key @param absence see `Presence` @param wallNow milliseconds since 1970
 */
export function pathStatus(
  path: PathStatus | undefined,
  absence: { readonly ago: number | undefined } | undefined,
  wallNow: number,
): PathStatus {
  if (path === undefined) return { kind: 'none', why: 'its key is no key', since: wallNow };
  if (absence === undefined || path.kind === 'direct') return path;
  const { ago } = absence;
  const why = ago === undefined ? 'not seen since the hub was started' : '';
  return { kind: 'offline', why, since: path.since, ...(ago !== undefined && { lastSeen: wallNow - ago }) };
}

/** Puts together what a node tells of itself. @param wallOffset what makes the machine's clock milliseconds since 1970 */
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
  const { network, you, port, device } = node;
  const { id, name, ipv4, ipv6, admin, pending, shares } = you;
  const fullName = `${name}.${network.name}.lametun`;
  const peers = [...members].sort((a, b) => (a.name < b.name ? -1 : 1));
  return {
    network,
    self: {
      ...{ id, name, fullName, ipv4, ipv6, key, admin, pending, device, port },
      ...(wished !== undefined && wished !== name && { wished }),
    },
    hub,
    relay: pending && relay.via === 'none' ? { ...relay, why: WAITS } : relay,
    peers: peers.map((member) => peerStatus(member, parts, surroundings)),
    ...{ shares, names },
    warnings: [...ownWarnings(node), ...surroundings.warnings, ...parts.warnings],
  };
}

/** There may be thousands. */
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
  return [
    ...(you.pending
      ? [
          `This node waits for an administrator: \`lametun approve ${you.name}\` on the hub's machine lets it in`,
        ]
      : []),
    ...(pending.length > 0 && !you.pending
      ? [
          `What this node shares, ${pending.join(', ')}, waits for an administrator: \`lametun approve ${you.name}\` on the hub's machine allows it`,
        ]
      : []),
    ...refused.map(
      ({ network, why }) => `What this node shares, ${network}, is refused: ${why ?? 'by an administrator'}`,
    ),
  ];
}

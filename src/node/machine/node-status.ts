import type { HubStatus, NodeStatus, PathStatus, PeerStatus, RelayStatus } from '../control/control.js';
import type { LocalNames } from '../names/local-names.js';
import type { PeerTable } from '../shell/peer-table.js';
import type { StoredNode } from '../shell/state.js';
import type { KnownNames } from './known-names.js';
import type { Member } from './members.js';

export interface StatusParts {
  readonly node: StoredNode;
  /** What it asked to be called when it joined. */
  readonly wished: string | undefined;
  /** Base64. */
  readonly key: string;
  readonly hub: HubStatus;
  readonly relay: RelayStatus;
  readonly members: Iterable<Member>;
  readonly path: (id: number) => PathStatus;
  readonly table: PeerTable;
  readonly known: KnownNames;
  readonly names: LocalNames | undefined;
  readonly warnings: readonly string[];
}

/** Nobody has refused it anything: it is not asked for before. */
const WAITS = 'it waits, as this node does, for an administrator';

/** Puts together what a node tells of itself. */
export function nodeStatus(parts: StatusParts): NodeStatus {
  const { node, key, hub, relay, members, path, table, known, names } = parts;
  const { network, you, port, device } = node;
  const { id, name, ipv4, ipv6, admin, pending, shares } = you;
  const fullName = `${name}.${network.name}.lametun`;
  const peers = [...members].sort((a, b) => (a.name < b.name ? -1 : 1));
  return {
    network,
    self: {
      ...{ id, name, fullName, ipv4, ipv6, key, admin, pending, device, port },
      ...(parts.wished !== undefined && parts.wished !== name && { wished: parts.wished }),
    },
    hub,
    relay: pending && relay.via === 'none' ? { ...relay, why: WAITS } : relay,
    peers: peers.map((member) => peerStatus(member, path(member.id), table, known)),
    shares,
    names: { how: names?.how ?? 'none', why: names?.why, through: names?.through },
    warnings: [...ownWarnings(node), ...parts.warnings],
  };
}

/** There may be thousands. */
function peerStatus(member: Member, path: PathStatus, table: PeerTable, known: KnownNames): PeerStatus {
  const { id, name, ipv4, ipv6, key, shares } = member;
  const { received, sent, lastHandshake } = table.traffic(id);
  const keyChangedAt = known.changedAt(name);
  const changed = keyChangedAt === undefined ? {} : { keyChangedAt };
  return { id, name, ipv4, ipv6, key, ...changed, shares, path, lastHandshake, received, sent };
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

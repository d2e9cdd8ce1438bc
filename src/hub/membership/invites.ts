import type { InviteRow } from '../../protocol/messages.js';
import type { Change } from './change.js';
import { Refused } from './refused.js';
import { canonicalNetworks, whyNotShareable } from './shares.js';
import type { InviteRecord, ReadTables } from './tables.js';

export interface NewInvite {
  readonly id: string;
  readonly secretHash: string;
  readonly expiresAt: number;
  readonly reusable: boolean;
  /** For a reusable one; default `REUSABLE_USES`. */
  readonly uses?: number | undefined;
  readonly admin: boolean;
  readonly shares: readonly string[];
}

/** How many machines may use a reusable invitation by default. */
const REUSABLE_USES = 100;

/** @returns how many machines may use it. @throws Refused if it allows a network that can never be shared */
export async function addInvite(change: Change, invite: NewInvite): Promise<number> {
  const { reusable, uses = reusable ? REUSABLE_USES : 1 } = invite;
  if (!reusable && uses !== 1)
    throw new Refused('bad-request', `an invitation for ${uses} machines must be reusable`);
  // If it exists already, this is the same transaction again after the connection was lost.
  await change.tables.insertInvite({
    id: invite.id,
    secret_hash: invite.secretHash,
    created_at: change.now,
    expires_at: invite.expiresAt,
    max_uses: uses,
    admin: invite.admin ? 1 : 0,
    shares: JSON.stringify(allowedShares(invite.shares, [change.network.ipv4, change.network.ipv6])),
    revoked_at: null,
    uses: 0,
  });
  return uses;
}

function allowedShares(shares: readonly string[], ranges: readonly string[]): string[] {
  return canonicalNetworks(shares, 'an invitation may allow').map((network) => {
    const why = whyNotShareable(network, ranges, []);
    if (why !== undefined) throw new Refused('bad-request', `${network} cannot be shared: ${why}`);
    return network;
  });
}

/** The invitation with that secret, if another node may use it. @throws Refused */
export async function openInvite(tables: ReadTables, secretHash: string, now: number): Promise<InviteRecord> {
  const invite = await tables.invite({ secretHash });
  if (invite === undefined) throw new Refused('bad-secret', 'the hub does not know this invitation');
  switch (inviteState(invite, now)) {
    case 'revoked':
      throw new Refused('bad-secret', 'the invitation was revoked: ask for a new one');
    case 'used':
      throw new Refused('used-up', 'the invitation was already used: ask for a new one');
    case 'expired':
      throw new Refused('expired', 'the invitation has expired: ask for a new one');
    default:
      return invite;
  }
}

function inviteState(invite: InviteRecord, now: number): InviteRow['state'] {
  if (invite.revoked_at !== null) return 'revoked';
  if (invite.uses >= invite.max_uses) return 'used';
  return invite.expires_at <= now ? 'expired' : 'open';
}

export const sharesOf = (invite: Pick<InviteRecord, 'shares'>): string[] =>
  JSON.parse(invite.shares) as string[];

/** @throws Refused when there is none */
export async function revokeInvite(change: Change, id: string): Promise<void> {
  const invite = await change.tables.invite({ id });
  if (invite === undefined)
    throw new Refused('not-found', `no invitation ${id}: \`lametun invites\` lists them`);
  if (invite.revoked_at === null) await change.tables.updateInvite(id, { revoked_at: change.now });
}

export async function listInvites(tables: ReadTables, now: number): Promise<InviteRow[]> {
  const invites = await tables.invites();
  invites.sort((a, b) => a.created_at - b.created_at || (a.id < b.id ? -1 : 1));
  const names = new Map<string, string[]>();
  for (const { name, invite } of await tables.invited()) {
    const list = names.get(invite);
    if (list === undefined) names.set(invite, [name]);
    else list.push(name);
  }
  return invites.map((invite) => ({
    id: invite.id,
    createdAt: invite.created_at,
    expiresAt: invite.expires_at,
    reusable: invite.max_uses > 1,
    uses: invite.uses,
    maxUses: invite.max_uses,
    admin: invite.admin === 1,
    shares: sharesOf(invite),
    state: inviteState(invite, now),
    usedBy: names.get(invite.id) ?? [],
  }));
}

import type { Change } from './change.js';

/**
 * How long is remembered what is over, milliseconds: a removed node, so that members who were away are told of it alone;
 * and an invitation that has expired or was revoked, so that who tries it learns why.
 */
export const REMEMBERED_FOR = 30 * 86_400_000;
/** How often what is older is forgotten, milliseconds. */
export const PRUNE_INTERVAL = 86_400_000;

/**
 * Forgets what was over long ago. Nobody gains by it: a key and a secret that are not known are refused as before. An
 * invitation stays as long as a node is there that came by it: it says how that came in, and what it may share.
 *
 * @param known the revision that this hub has in memory: it is not to miss that somebody was removed since
 * @returns the revision from before which no delta can tell everything any more
 */
export async function prune({ tables, network, now }: Change, known: number): Promise<number> {
  const before = now - REMEMBERED_FOR;
  const removed = await tables.nodes({ removedBy: before });
  const old = removed.filter(({ revision }) => revision <= known);
  await tables.deleteNodes(old.map(({ id }) => id));
  const needed = new Set((await tables.invited()).map(({ invite }) => invite));
  const over = (await tables.invites()).filter(
    ({ id, expires_at, revoked_at, uses, max_uses }) =>
      !needed.has(id) &&
      (expires_at <= before || (revoked_at !== null && revoked_at <= before) || uses >= max_uses), // whoever used it was removed long ago
  );
  await tables.deleteInvites(over.map(({ id }) => id));
  const horizon = old.reduce((latest, { revision }) => Math.max(latest, revision), network.horizon);
  if (horizon !== network.horizon) await tables.updateNetwork({ horizon });
  return horizon;
}

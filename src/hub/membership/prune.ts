import type { Change } from './change.js';

/**
 * How long removed nodes and useless invitations are kept, milliseconds. Members that were away get a delta about the nodes;
 * a machine that tries the invitation learns why it is refused.
 */
export const REMEMBERED_FOR = 30 * 86_400_000;
/** How often older ones are deleted, milliseconds. */
export const PRUNE_INTERVAL = 86_400_000;

/**
 * Deletes nodes and invitations that are no longer kept. Unknown keys and secrets are refused like the deleted ones. An
 * invitation is kept as long as a node that joined with it: it says what that node may share.
 *
 * @param known the revision that this hub has in memory: it must not miss a node that was removed since
 * @returns the revision before which there are no complete deltas
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
      (expires_at <= before || (revoked_at !== null && revoked_at <= before) || uses >= max_uses), // the nodes that used it were removed long ago
  );
  await tables.deleteInvites(over.map(({ id }) => id));
  const horizon = old.reduce((latest, { revision }) => Math.max(latest, revision), network.horizon);
  if (horizon !== network.horizon) await tables.updateNetwork({ horizon });
  return horizon;
}

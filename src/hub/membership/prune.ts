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
export async function prune({ db, network, now }: Change, known: number): Promise<number> {
  const before = now - REMEMBERED_FOR;
  const old = db
    .selectFrom('nodes')
    .where('state', '=', 'removed')
    .where('removed_at', '<=', before)
    .where('revision', '<=', known);
  const { latest } = await old.select((eb) => eb.fn.max('revision').as('latest')).executeTakeFirstOrThrow();
  const horizon = Math.max(network.horizon, latest ?? 0);
  await db.deleteFrom('nodes').where('id', 'in', old.select('id')).execute();
  await db
    .deleteFrom('invites')
    .where((eb) =>
      eb.and([
        eb.not(eb.exists(eb.selectFrom('nodes').select('id').whereRef('nodes.invite', '=', 'invites.id'))),
        eb.or([
          eb('expires_at', '<=', before),
          eb('revoked_at', '<=', before),
          eb('uses', '>=', eb.ref('max_uses')), // who has used it was removed long ago
        ]),
      ]),
    )
    .execute();
  if (horizon !== network.horizon) await db.updateTable('network').set({ horizon }).execute();
  return horizon;
}

import type { ClockStep } from '../../wall-clock.js';
import type { Change } from './change.js';

/**
 * Moves all times that were written since the machine was started, now that its clock was set: an invitation lives as long
 * as it was meant to. Those of earlier boots were written by a clock of their own, and stay.
 */
export async function moveTimes({ db }: Change, { from, to, by }: ClockStep): Promise<void> {
  await db
    .updateTable('invites')
    .set((eb) => ({ created_at: eb('created_at', '+', by), expires_at: eb('expires_at', '+', by) }))
    .where('created_at', '>=', from)
    .where('created_at', '<=', to)
    .execute();
  await db
    .updateTable('invites')
    .set((eb) => ({ revoked_at: eb('revoked_at', '+', by) }))
    .where('revoked_at', '>=', from)
    .where('revoked_at', '<=', to)
    .execute();
  for (const column of ['joined_at', 'removed_at'] as const)
    await db
      .updateTable('nodes')
      .set((eb) => ({ [column]: eb(column, '+', by) }))
      .where(column, '>=', from)
      .where(column, '<=', to)
      .execute();
}

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DATABASES, openTestNetwork, withDatabase } from '../../../tests/kit/stores.js';
import { WallClock } from '../../wall-clock.js';
import { moveTimes } from './clock-step.js';
import { addInvite, listInvites, openInvite, revokeInvite } from './invites.js';
import { join } from './nodes.js';

const HOUR = 3_600_000;
const TODAY = Date.UTC(2026, 10, 30);

for (const kind of DATABASES)
  test(`${kind}: an invitation made before the clock was set lives as long as it was meant to`, (t) =>
    withDatabase(t, kind, async (t, database) => {
      // A machine without a battery, ten minutes after its start.
      const machine = { wall: HOUR / 6, steady: HOUR / 6 };
      const clock = new WallClock(
        () => machine.wall,
        () => machine.steady,
      );
      const registry = await openTestNetwork(t, database, { clock: () => clock.now() });
      const invite = (id: string, expiresAt: number): Promise<unknown> =>
        registry.change((change) =>
          addInvite(change, { id, secretHash: id, expiresAt, reusable: true, admin: false, shares: [] }),
        );
      await invite('new', clock.now() + 24 * HOUR);
      await invite('revoked', clock.now() + 24 * HOUR);
      await registry.change((change) => revokeInvite(change, 'revoked'));
      await registry.change((change) =>
        join(change, { key: 'k', secretHash: 'new', name: 'pi', shares: [] }),
      );
      // As an earlier boot wrote it, whose clock was right.
      machine.wall = TODAY - 48 * HOUR;
      const earlier = new WallClock(
        () => machine.wall,
        () => 0,
      ).now();
      await registry.store.write(
        async (db) =>
          db
            .insertInto('invites')
            .values({
              ...{ id: 'old', secret_hash: 'old', created_at: earlier, expires_at: earlier + 24 * HOUR },
              ...{ admin: 0, shares: '[]', revoked_at: null, uses: 0, max_uses: 1 },
            })
            .execute(),
        () => {},
      );

      machine.wall = TODAY;
      const step = clock.step()!;
      const open = (id: string) => registry.store.read((db) => openInvite(db, id, clock.now()));
      assert.equal((await open('new')).id, 'new', 'also in the moment before times are moved');
      await registry.change((change) => moveTimes(change, step));
      clock.adopt(step);
      const listed = await registry.store.read((db) => listInvites(db, clock.now()));
      assert.deepEqual(
        listed.map(({ id, state, createdAt, expiresAt }) => ({ id, state, createdAt, expiresAt })),
        [
          { id: 'old', state: 'expired', createdAt: earlier, expiresAt: earlier + 24 * HOUR },
          { id: 'new', state: 'open', createdAt: TODAY, expiresAt: TODAY + 24 * HOUR },
          { id: 'revoked', state: 'revoked', createdAt: TODAY, expiresAt: TODAY + 24 * HOUR },
        ],
      );
      const [node] = await registry.store.read((db) =>
        db.selectFrom('nodes').select(['joined_at', 'removed_at']).execute(),
      );
      assert.deepEqual({ ...node }, { joined_at: TODAY, removed_at: null });
      await assert.rejects(open('old'), { refusal: 'expired' });
    }));

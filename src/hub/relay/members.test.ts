import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { AF, writeSocketAddress } from '../../linux/net/socket-address.js';
import { ENDPOINT } from '../../packets/udp-batch.js';
import { BIND_LIFETIME } from '../../protocol/relay.js';
import { KEY_LENGTH, RelayMembers } from './members.js';

const ROWS = 6;

/** Puts one of a few addresses into `members.sought`. */
function seek(members: RelayMembers, family: number, which: number): void {
  const { view, bytes } = members.endpoints;
  const at = members.sought;
  bytes.fill(0, at, at + ENDPOINT.size);
  const address =
    which % 2 === 0 || family === AF.inet ? Uint8Array.of(192, 0, 2, which) : new Uint8Array(16).fill(which);
  const length = writeSocketAddress(view, at + ENDPOINT.name, family, { address, port: 1000 + (which >> 2) });
  view.setUint32(at + ENDPOINT.nameLength, length, true);
}

const operation = fc.record({
  what: fc.constantFrom('add', 'remove', 'bind', 'unbind', 'expire'),
  row: fc.integer({ min: 0, max: ROWS - 1 }),
  id: fc.integer({ min: -4, max: 4 }).filter((id) => id !== 0),
  address: fc.integer({ min: 0, max: 9 }),
  after: fc.integer({ min: 0, max: 30_000 }),
});

for (const [name, family] of [
  ['IPv4', AF.inet],
  ['dual', AF.inet6],
] as const) {
  test(`lookups agree with plain maps, ${name} socket`, () => {
    fc.assert(
      fc.property(fc.array(operation, { maxLength: 80 }), fc.integer(), (operations, seed) => {
        const flags = new Int32Array(ROWS);
        const members = new RelayMembers(flags, seed);
        const ids = new Map<number, number>(); // by row
        const bound = new Map<number, { address: number; until: number }>(); // by row
        let now = 1;
        for (const { what, row, id, address, after } of operations) {
          now += after;
          switch (what) {
            case 'add':
              if ([...ids].some(([other, taken]) => taken === id && other !== row)) break;
              members.add(row, id, 0, new Uint8Array(KEY_LENGTH).fill(row));
              ids.set(row, id);
              bound.delete(row);
              break;
            case 'remove':
              members.remove(row);
              ids.delete(row);
              bound.delete(row);
              break;
            case 'bind':
              if (!ids.has(row)) break;
              seek(members, family, address);
              members.bind(row, now);
              for (const [other, at] of bound) if (at.address === address) bound.delete(other);
              bound.set(row, { address, until: now + BIND_LIFETIME });
              break;
            case 'unbind':
              members.unbind(row);
              bound.delete(row);
              break;
            case 'expire':
              members.expire(now);
              for (const [other, at] of bound) if (at.until <= now) bound.delete(other);
              break;
          }
          for (let one = -4; one <= 4; one++) {
            const expected = [...ids].find(([, taken]) => taken === one)?.[0] ?? -1;
            if (one !== 0) assert.equal(members.byId(one), expected);
          }
          for (let one = 0; one <= 9; one++) {
            seek(members, family, one);
            const expected = [...bound].find(([, at]) => at.address === one)?.[0] ?? -1;
            assert.equal(members.bySender(members.endpoints.view, members.sought), expected);
          }
          assert.equal(members.bound, bound.size);
          for (let one = 0; one < ROWS; one++) {
            assert.equal(members.isBound(one), bound.has(one));
            assert.equal(flags[one], bound.has(one) ? 1 : 0);
          }
        }
      }),
    );
  });
}

test('a member that does not bind again in time is forgotten', () => {
  const members = new RelayMembers(new Int32Array(2), 1);
  members.add(0, 5, 0, new Uint8Array(KEY_LENGTH));
  seek(members, AF.inet6, 3);
  members.bind(0, 1000);
  members.expire(1000 + BIND_LIFETIME - 1);
  assert.equal(members.isBound(0), true);
  members.bind(0, 2000);
  members.expire(1000 + BIND_LIFETIME);
  assert.equal(members.isBound(0), true);
  members.expire(2000 + BIND_LIFETIME);
  assert.equal(members.isBound(0), false);
});

test('the key of a removed member is wiped', () => {
  const members = new RelayMembers(new Int32Array(2), 1);
  members.add(1, 5, 0, new Uint8Array(KEY_LENGTH).fill(9));
  const key = members.key(1);
  assert.equal(key[31], 9);
  members.remove(1);
  assert.deepEqual(key, new Uint8Array(KEY_LENGTH));
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { KeyTable } from './key-table.js';

const key = (value: number) => Uint8Array.of(value >> 8, value & 0xff);

test('the table behaves like a Map through all additions, removals and lookups', () => {
  const action = fc.tuple(fc.constantFrom('add', 'remove', 'find'), fc.nat(24));
  fc.assert(
    fc.property(fc.array(action, { maxLength: 300 }), fc.integer(), (actions, seed) => {
      const table = new KeyTable(16, 2, seed);
      const reference = new Map<number, number>();
      for (const [what, value] of actions) {
        const entry = reference.get(value);
        assert.equal(table.find(key(value), 0), entry ?? -1);
        if (what === 'add' && entry === undefined) {
          const added = table.add(key(value), 0);
          if (reference.size === 16) assert.equal(added, -1);
          else {
            assert.ok(added >= 0 && ![...reference.values()].includes(added));
            reference.set(value, added);
          }
        } else if (what === 'remove' && entry !== undefined) {
          table.remove(entry);
          reference.delete(value);
        }
        assert.equal(table.size, reference.size);
        const lowest = reference.size === 0 ? -1 : Math.min(...reference.values());
        assert.equal(table.first(), lowest);
      }
    }),
    { numRuns: 500 },
  );
});

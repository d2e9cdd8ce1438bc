import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Deadlines } from './deadlines.js';

test('the earliest deadline is first after any sequence of set, move and delete', () => {
  const operations = fc.array(fc.tuple(fc.nat(20), fc.oneof(fc.nat(50), fc.constant(Infinity))), {
    maxLength: 200,
  });
  fc.assert(
    fc.property(operations, (changes) => {
      const members = Array.from({ length: 21 }, () => ({ deadline: Infinity, heapIndex: -1 }));
      const deadlines = new Deadlines<(typeof members)[0]>();
      for (const [which, when] of changes) {
        deadlines.set(members[which]!, when);
        assert.equal(deadlines.next(), Math.min(...members.map(({ deadline }) => deadline)));
        assert.equal(
          deadlines.due(25)?.deadline ?? Infinity,
          deadlines.next() <= 25 ? deadlines.next() : Infinity,
        );
      }
    }),
  );
});

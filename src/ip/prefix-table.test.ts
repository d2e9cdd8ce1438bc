import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { PrefixLookup, PrefixTable } from './prefix-table.js';

type Entry = readonly [address: Uint8Array, length: number, owner: number];

/** The reference: compares with every prefix bit by bit, and keeps the longest match. */
class NaiveTable {
  entries: Entry[] = [];

  insert(address: Uint8Array, length: number, owner: number): void {
    this.entries = this.entries.filter((one) => !this.#same(one, address, length));
    this.entries.push([address, length, owner]);
  }

  remove(address: Uint8Array, length: number, owner: number): boolean {
    const before = this.entries.length;
    this.entries = this.entries.filter((one) => !(this.#same(one, address, length) && one[2] === owner));
    return this.entries.length < before;
  }

  find(address: Uint8Array): number {
    let best: Entry | undefined;
    for (const entry of this.entries) {
      if (entry[0].length !== address.length || !startsAlike(entry[0], address, entry[1])) continue;
      if (!best || entry[1] > best[1]) best = entry;
    }
    return best?.[2] ?? -1;
  }

  #same(entry: Entry, address: Uint8Array, length: number): boolean {
    return (
      entry[0].length === address.length && entry[1] === length && startsAlike(entry[0], address, length)
    );
  }
}

const bits = (address: Uint8Array): string =>
  [...address].map((b) => b.toString(2).padStart(8, '0')).join('');
const startsAlike = (a: Uint8Array, b: Uint8Array, length: number): boolean =>
  bits(a).slice(0, length) === bits(b).slice(0, length);

/** Addresses with few distinct bytes, so that prefixes nest and collide. */
const address = fc
  .oneof(
    fc.array(fc.constantFrom(0, 1, 127, 128, 255), { minLength: 4, maxLength: 4 }),
    fc.array(fc.constantFrom(0, 1, 128, 255), { minLength: 16, maxLength: 16 }),
  )
  .map((bytes) => Uint8Array.from(bytes));
const prefix = address.chain((bytes) => fc.tuple(fc.constant(bytes), fc.nat(bytes.length * 8), fc.nat(5)));
const change = fc.oneof(
  { weight: 5, arbitrary: fc.record({ do: fc.constant('insert' as const), prefix }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('remove' as const), prefix }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('removeOwner' as const), prefix }) },
);

const find = (table: Int32Array, bytes: Uint8Array, at = 0, length = bytes.length): number =>
  length === 4 ? new PrefixLookup(table).find4(bytes, at) : new PrefixLookup(table).find6(bytes, at);

test('lookups agree with a naive table through all insertions, moves and removals', () => {
  fc.assert(
    fc.property(
      fc.array(change, { maxLength: 40 }),
      fc.array(address, { maxLength: 20 }),
      (changes, asked) => {
        const table = new PrefixTable();
        const naive = new NaiveTable();
        for (const {
          do: what,
          prefix: [bytes, length, owner],
        } of changes) {
          if (what === 'insert') {
            table.insert(bytes, length, owner);
            naive.insert(bytes, length, owner);
          } else if (what === 'remove') {
            assert.equal(table.remove(bytes, length, owner), naive.remove(bytes, length, owner));
          } else {
            table.removeOwner(owner);
            naive.entries = naive.entries.filter((entry) => entry[2] !== owner);
          }
        }
        assert.equal(table.size, naive.entries.length);
        const compiled = table.compile();
        for (const bytes of [...asked, ...naive.entries.map(([inserted]) => inserted)]) {
          assert.equal(find(compiled, bytes), naive.find(bytes));
        }
        for (let owner = 0; owner <= 5; owner++) {
          assert.equal(
            [...table.ownedBy(owner)].length,
            naive.entries.filter((entry) => entry[2] === owner).length,
          );
        }
      },
    ),
    { numRuns: 1000, seed: 3 },
  );
});

test('inserting a prefix for another owner moves it', () => {
  const table = new PrefixTable();
  table.insert(Uint8Array.of(10, 0, 0, 0), 8, 1);
  table.insert(Uint8Array.of(10, 1, 2, 3), 8, 2); // the same /8, host bits are ignored
  assert.deepEqual([...table.ownedBy(1)], []);
  assert.deepEqual([...table.ownedBy(2)], [{ address: Uint8Array.of(10, 0, 0, 0), length: 8, owner: 2 }]);
  assert.equal(table.remove(Uint8Array.of(10, 0, 0, 0), 8, 1), false);
  assert.equal(find(table.compile(), Uint8Array.of(10, 9, 9, 9)), 2);
});

test('prefixes are listed in insertion order, even while they change', () => {
  const table = new PrefixTable();
  const insert = (third: number, owner = 1): void => table.insert(Uint8Array.of(10, 0, third, 0), 24, owner);
  for (const third of [3, 1, 2, 4]) insert(third);
  insert(1); // inserted again, so now the newest
  const listed: number[] = [];
  for (const { address } of table.ownedBy(1)) {
    listed.push(address[2]!);
    if (address[2] === 3) {
      table.remove(Uint8Array.of(10, 0, 3, 0), 24, 1);
      table.remove(Uint8Array.of(10, 0, 2, 0), 24, 1);
      insert(4, 2);
      insert(5);
    }
  }
  assert.deepEqual(listed, [3, 1, 5]);
  table.insert(Uint8Array.from([0x20, 1, 0xd, 0xb8, ...new Array(12).fill(0xff)]), 65, 2);
  assert.deepEqual(
    [...table.ownedBy(2)].map(({ address }) => [...address]),
    [
      [10, 0, 4, 0],
      [0x20, 1, 0xd, 0xb8, 0xff, 0xff, 0xff, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0],
    ],
  );
});

test('addresses are read at any offset, and tables in shared memory', () => {
  const table = new PrefixTable();
  table.insert(new Uint8Array(4), 0, 3);
  table.insert(new Uint8Array(16), 0, 4);
  table.insert(Uint8Array.of(192, 168, 1, 1), 32, 5);
  const shared = table.compile((words) => new Int32Array(new SharedArrayBuffer(words * 4)));
  const packet = Uint8Array.from([9, 9, 9, 192, 168, 1, 1, ...new Array(16).fill(7)]);
  assert.equal(find(shared, packet, 3, 4), 5);
  assert.equal(find(shared, packet, 4, 4), 3);
  assert.equal(find(shared, packet, 5, 16), 4);
});

test('an empty table finds nothing', () => {
  const empty = new PrefixTable().compile();
  assert.equal(find(empty, new Uint8Array(4)), -1);
  assert.equal(find(empty, new Uint8Array(16)), -1);
});

test('inserting and compiling 65 000 prefixes takes less than quadratic time', () => {
  const begin = performance.now();
  const table = new PrefixTable();
  for (let i = 0; i < 65_000; i++) table.insert(Uint8Array.of(10, i >> 8, i & 0xff, i % 7), 32, i % 250);
  const compiled = table.compile();
  const took = performance.now() - begin;
  assert.equal(find(compiled, Uint8Array.of(10, 1, 2, 258 % 7)), 258 % 250);
  assert.ok(took < 10_000, `${took} ms`); // a hundredth of this on an idle machine
});

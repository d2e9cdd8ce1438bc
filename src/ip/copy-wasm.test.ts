import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SeededRandom } from '../../tests/kit/random.js';
import { createCopy } from './copy-wasm.js';
import { type WasmMemory, wasmMemory } from './wasm.js';

/** One page of WebAssembly memory. */
const SIZE = 65_536;

function makeArena(): { readonly bytes: Uint8Array; readonly memory: WasmMemory } {
  const memory = wasmMemory(1);
  return { bytes: new Uint8Array(memory.buffer), memory };
}

test('both copy functions equal copyWithin, even if the ranges overlap', () => {
  const random = new SeededRandom(7);
  const arena = makeArena();
  const plain = new Uint8Array(SIZE);
  const expected = new Uint8Array(SIZE).map(() => random.below(256));
  arena.bytes.set(expected);
  plain.set(expected);
  const copies = [createCopy(arena.bytes, arena.memory), createCopy(plain)];
  for (let i = 0; i < 2000; i++) {
    const length = random.below(i % 3 === 0 ? 4000 : 40);
    const to = random.below(SIZE - length);
    const from = i % 2 ? random.below(SIZE - length) : Math.min(SIZE - length, to + random.below(100));
    expected.copyWithin(to, from, from + length);
    for (const copy of copies) copy(to, from, length);
  }
  assert.ok(Buffer.from(arena.bytes).equals(expected));
  assert.ok(Buffer.from(plain).equals(expected));
});

test('WebAssembly is used here, and does not copy beyond the arena', () => {
  const arena = makeArena();
  const copy = createCopy(arena.bytes, arena.memory);
  assert.throws(() => copy(SIZE - 10, 0, 11), /out of bounds/);
});

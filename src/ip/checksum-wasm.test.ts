import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { sumReference } from './checksum.js';
import { createChecksum, wasmSum } from './checksum-wasm.js';
import { wasmMemory as shared, type WasmMemory } from './wasm.js';

declare const WebAssembly: {
  readonly Memory: new (limits: { initial: number; maximum?: number; shared?: boolean }) => WasmMemory;
};

test('the SIMD kernel works here, and is used for memory in a shared WebAssembly arena', () => {
  const memory = shared(2);
  assert.equal(createChecksum(new Uint8Array(memory.buffer), memory).kernel, 'wasm-simd');
});

test('the SIMD sum equals the reference at every offset and length', () => {
  const memory = shared(1);
  const bytes = new Uint8Array(memory.buffer);
  const { sum } = createChecksum(bytes, memory);
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 400 }), fc.nat(40), (packet, offset) => {
      bytes.fill(0xff, 0, 500);
      bytes.set(packet, offset);
      assert.equal(sum(offset, packet.length), sumReference(bytes, offset, packet.length));
    }),
    { numRuns: 3000 },
  );
});

test("the largest ranges of the largest bytes do not overflow, up to the arena's last byte", () => {
  const memory = shared(2);
  const bytes = new Uint8Array(memory.buffer).fill(0xff);
  const { sum } = createChecksum(bytes, memory);
  for (let cut = 0; cut < 70; cut++) {
    assert.equal(sum(cut, bytes.length - cut), sumReference(bytes, cut, bytes.length - cut));
  }
});

test('a range beyond the memory is an error, not a read', () => {
  const memory = shared(1);
  const { sum } = createChecksum(new Uint8Array(memory.buffer), memory);
  assert.throws(() => sum(65_500, 100), /out of bounds/);
});

test('other memory is summed in JavaScript', () => {
  const bytes = Uint8Array.from({ length: 99 }, (_, i) => i);
  const memory = shared(1);
  const part = new Uint8Array(memory.buffer, 4);
  const unshared = new WebAssembly.Memory({ initial: 1, maximum: 1 });
  assert.equal(wasmSum(unshared), undefined);
  for (const checksum of [
    createChecksum(bytes),
    createChecksum(bytes, memory),
    createChecksum(part, memory),
    createChecksum(new Uint8Array(unshared.buffer), unshared),
  ]) {
    assert.equal(checksum.kernel, 'words');
  }
  assert.equal(createChecksum(bytes).sum(3, 90), sumReference(bytes, 3, 90));
});

test('an engine without SIMD, and one without WebAssembly, sum in JavaScript', () => {
  const memory = shared(1);
  const bytes = new Uint8Array(memory.buffer);
  const scope = globalThis as { WebAssembly?: unknown };
  const engine = scope.WebAssembly as object;
  try {
    scope.WebAssembly = {
      ...Object.fromEntries(Object.getOwnPropertyNames(engine).map((key) => [key, Reflect.get(engine, key)])),
      Module: class {
        constructor() {
          throw new Error('invalid SIMD opcode');
        }
      },
    };
    assert.equal(createChecksum(bytes, memory).kernel, 'words');
    scope.WebAssembly = undefined;
    assert.equal(createChecksum(bytes, memory).kernel, 'words');
  } finally {
    scope.WebAssembly = engine;
  }
  assert.equal(createChecksum(bytes, memory).kernel, 'wasm-simd');
});

test('an engine that computes wrongly is detected', () => {
  const memory = shared(1);
  const scope = globalThis as { WebAssembly?: unknown };
  const engine = scope.WebAssembly;
  try {
    scope.WebAssembly = {
      Memory: WebAssembly.Memory,
      Module: class {},
      Instance: class {
        exports = { run: () => 0x1234 };
      },
    };
    assert.equal(createChecksum(new Uint8Array(memory.buffer), memory).kernel, 'words');
  } finally {
    scope.WebAssembly = engine;
  }
});

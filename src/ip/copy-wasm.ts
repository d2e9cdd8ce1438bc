import type { WasmMemory } from './checksum-wasm.js';

declare const WebAssembly: {
  readonly Module: new (bytes: Uint8Array) => object;
  readonly Instance: new (
    module: object,
    imports: { arena: { memory: WasmMemory } },
  ) => { readonly exports: { readonly copy: Copy } };
};

/** Copies `length` bytes within an arena. The ranges may overlap. */
export type Copy = (to: number, from: number, length: number) => void;

/**
 * Finds the fastest way to copy within an arena that works here. JavaScript copies shared memory word by word, which
 * takes ten times as long as WebAssembly.
 *
 * @param memory the shared WebAssembly memory that `bytes` covers; without it, JavaScript copies
 */
export function createCopy(bytes: Uint8Array, memory?: WasmMemory): Copy {
  const inPlace = memory !== undefined && bytes.buffer === memory.buffer && bytes.byteOffset === 0;
  const copy = inPlace ? wasmCopy(memory) : undefined;
  return copy ?? ((to, from, length) => void bytes.copyWithin(to, from, from + length));
}

/** @returns undefined where WebAssembly, its bulk memory operations or shared memory are missing */
function wasmCopy(memory: WasmMemory): Copy | undefined {
  try {
    const module = new WebAssembly.Module(MODULE);
    return new WebAssembly.Instance(module, { arena: { memory } }).exports.copy;
  } catch {
    return undefined;
  }
}

const ascii = (text: string): number[] => [text.length, ...Array.from(text, (char) => char.charCodeAt(0))];
const section = (id: number, ...content: number[]): number[] => [id, content.length, ...content];
const I32 = 0x7f;

/** Imports `arena.memory`, exports `copy(to, from, length)`. */
const MODULE = Uint8Array.of(
  ...[0, 0x61, 0x73, 0x6d, 1, 0, 0, 0], // "\0asm", version 1
  ...section(1, 1, 0x60, 3, I32, I32, I32, 0), // types: one function without a result
  ...section(2, 1, ...ascii('arena'), ...ascii('memory'), 2, 3, 0, 0x80, 0x80, 4), // shared, up to 65536 pages
  ...section(3, 1, 0), // functions: one, of type 0
  ...section(7, 1, ...ascii('copy'), 0, 0), // exports: function 0
  // code: no locals; local.get 0, 1, 2; memory.copy 0 0; end
  ...section(10, 1, 12, 0, 0x20, 0, 0x20, 1, 0x20, 2, 0xfc, 0x0a, 0, 0, 0x0b),
);

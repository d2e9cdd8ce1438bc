/** The part of WebAssembly that is used here. No `lib` of this package's compilation describes it. */
export interface WasmMemory {
  readonly buffer: ArrayBufferLike;
}
declare const WebAssembly: {
  readonly Memory: new (limits: { initial: number; maximum: number; shared: boolean }) => WasmMemory;
  readonly Module: new (bytes: Uint8Array) => object;
  readonly Instance: new (
    module: object,
    imports: { arena: { memory: WasmMemory } },
  ) => { readonly exports: { readonly run: unknown } };
};

/** Bytes in a page. */
export const PAGE = 65_536;

/** Zeroed memory that cannot grow, so it does not move. */
export const wasmMemory = (pages: number): WasmMemory =>
  new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });

export const I32 = 0x7f;

/** LEB128, the format's encoding of numbers. Constants are signed; all others are not. */
export function leb(value: number): number[] {
  const byte = value & 0x7f;
  const rest = value >> 7;
  const done = (rest === 0 && (byte & 0x40) === 0) || (rest === -1 && (byte & 0x40) !== 0);
  return done ? [byte] : [byte | 0x80, ...leb(rest)];
}
const unsignedLeb = (value: number): number[] =>
  value < 0x80 ? [value] : [(value & 0x7f) | 0x80, ...unsignedLeb(value >>> 7)];

/**
 * Makes a function that works on shared memory: a module that imports `arena.memory` and exports `run`,
 * https://webassembly.github.io/spec/core/binary/.
 *
 * @param parameters how many numbers it takes @param results how many it returns
 * @param code its locals and instructions
 * @returns undefined where WebAssembly, a kind of instruction or shared memory is missing
 */
export function assemble<F>(
  parameters: number,
  results: 0 | 1,
  code: readonly number[],
  memory: WasmMemory,
): F | undefined {
  const section = (id: number, ...content: number[]) => [id, ...unsignedLeb(content.length), ...content];
  const name = (text: string) => [text.length, ...Array.from(text, (char) => char.charCodeAt(0))];
  const numbers = (count: number) => [count, ...new Array<number>(count).fill(I32)];
  const SHARED_WITH_MAXIMUM = 3;
  const bytes = Uint8Array.of(
    ...[0, 0x61, 0x73, 0x6d, 1, 0, 0, 0], // "\0asm", version 1
    ...section(1, 1, 0x60, ...numbers(parameters), ...numbers(results)), // types: one function
    ...section(2, 1, ...name('arena'), ...name('memory'), 2, SHARED_WITH_MAXIMUM, 0, ...unsignedLeb(PAGE)),
    ...section(3, 1, 0), // functions: one, of type 0
    ...section(7, 1, ...name('run'), 0, 0), // exports: function 0
    ...section(10, 1, ...unsignedLeb(code.length), ...code),
  );
  try {
    const module = new WebAssembly.Module(bytes);
    return new WebAssembly.Instance(module, { arena: { memory } }).exports.run as F;
  } catch {
    return undefined;
  }
}

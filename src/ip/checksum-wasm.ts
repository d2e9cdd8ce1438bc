import { type Sum, sumReference, wordSum } from './checksum.js';
import { assemble, I32, leb, type WasmMemory, wasmMemory } from './wasm.js';

export interface Checksum {
  /** The implementation's name, for the log. */
  readonly kernel: 'wasm-simd' | 'words' | 'reference';
  readonly sum: Sum;
}

/**
 * Finds the fastest sum over an arena that works here. Each is compared with the reference first.
 *
 * @param memory the shared WebAssembly memory that `bytes` covers; without it, JavaScript sums
 */
export function createChecksum(bytes: Uint8Array, memory?: WasmMemory): Checksum {
  const inPlace = memory !== undefined && bytes.buffer === memory.buffer && bytes.byteOffset === 0;
  const sum = inPlace && passesSelfTest() ? wasmSum(memory) : undefined;
  if (sum !== undefined) return { kernel: 'wasm-simd', sum };
  // The fast sums need a little-endian machine; the reference serves the others.
  const sample = testPattern(new Uint8Array(SAMPLE_LENGTH));
  if (agrees(wordSum(sample), sample)) return { kernel: 'words', sum: wordSum(bytes) };
  return { kernel: 'reference', sum: (offset, length) => sumReference(bytes, offset, length) };
}

/** @returns undefined where there is no WebAssembly, no SIMD in it, or the memory is not shared */
export const wasmSum = (memory: WasmMemory): Sum | undefined => assemble<Sum>(2, 1, CODE, memory);

const SAMPLE_LENGTH = 512;

/** Uses its own memory, because the arena may be in use. */
function passesSelfTest(): boolean {
  try {
    const memory = wasmMemory(1);
    const sum = wasmSum(memory);
    return sum !== undefined && agrees(sum, testPattern(new Uint8Array(memory.buffer, 0, SAMPLE_LENGTH)));
  } catch {
    return false;
  }
}

function testPattern(bytes: Uint8Array): Uint8Array {
  for (let i = 0; i < bytes.length; i++) bytes[i] = 255 - i * 13 + (i >> 3);
  return bytes;
}

/** Whether a sum agrees with the reference, for all alignments and lengths of the tail. */
function agrees(sum: Sum, bytes: Uint8Array): boolean {
  for (let length = 0; length <= bytes.length - 16; length += length < 140 ? 1 : 37) {
    const offset = length % 16;
    if (sum(offset, length) !== sumReference(bytes, offset, length)) return false;
  }
  return true;
}

// The kernel in WebAssembly instructions: short enough to write by hand, without a compiler or an unreadable binary.

const V128 = 0x7b;
const NO_RESULT = 0x40;
const END = 0x0b;

const get = (local: number) => [0x20, local];
const set = (local: number) => [0x21, local];
const constant = (value: number) => [0x41, ...leb(value)];
const add = [0x6a];
const and = [0x71];
const or = [0x72];
const shiftLeft = [0x74];
const shiftRight = [0x76];
const equal = [0x46];
const notEqual = [0x47];
const branchIf = (depth: number) => [0x0d, depth];
const block = (...body: number[][]) => [0x02, NO_RESULT, ...body.flat(), END];
const loop = (...body: number[][]) => [0x03, NO_RESULT, ...body.flat(), END];
const when = (...body: number[][]) => [0x04, NO_RESULT, ...body.flat(), END];
const load8 = [0x2d, 0, 0];
const load16 = [0x2f, 0, 0];
/** Loads 16 bytes from the address plus `offset`; or 8 or 4 bytes, followed by zeros. */
const load128 = (offset: number) => [0xfd, 0x00, 0, offset];
const load64Zero = [0xfd, 0x5d, 0, 0];
const load32Zero = [0xfd, 0x5c, 0, 0];
/** Adds neighbouring 16-bit lanes into 32-bit ones: i32x4.extadd_pairwise_i16x8_u. */
const addPairs = [0xfd, 0x7f];
const addLanes = [0xfd, 0xae, 0x01];
const lane = (index: number) => [0xfd, 0x1b, index];

/** Locals: the two parameters, one number, and four vectors of four sums. */
const AT = 0;
const LENGTH = 1;
const NUMBER = 2;
const SUMS = [3, 4, 5, 6] as const;

/** sums[i] += the words of the 16 bytes that `load` takes from AT. */
const accumulate = (i: 0 | 1 | 2 | 3, load: number[]): number[] =>
  [get(SUMS[i]), get(AT), load, addPairs, addLanes, set(SUMS[i])].flat();
const advance = (by: number): number[] => [get(AT), constant(by), add, set(AT)].flat();
const whenLengthHas = (bit: number, ...body: number[][]): number[] =>
  [get(LENGTH), constant(bit), and, when(...body, advance(bit))].flat();
const foldOnce = [
  get(NUMBER),
  constant(0xffff),
  and,
  get(NUMBER),
  constant(16),
  shiftRight,
  add,
  set(NUMBER),
];

const BODY: readonly number[][] = [
  // NUMBER: where the last whole 64 bytes end.
  [...get(AT), ...get(LENGTH), ...constant(-64), ...and, ...add, ...set(NUMBER)],
  block(
    [...get(AT), ...get(NUMBER), ...equal, ...branchIf(0)],
    loop(
      accumulate(0, load128(0)),
      accumulate(1, load128(16)),
      accumulate(2, load128(32)),
      accumulate(3, load128(48)),
      advance(64),
      [...get(AT), ...get(NUMBER), ...notEqual, ...branchIf(0)],
    ),
  ),
  whenLengthHas(32, accumulate(0, load128(0)), accumulate(1, load128(16))),
  whenLengthHas(16, accumulate(2, load128(0))),
  whenLengthHas(8, accumulate(3, load64Zero)),
  whenLengthHas(4, accumulate(0, load32Zero)),
  // NUMBER: the sum, of little-endian words, an odd last byte being the low half of one.
  [...constant(0), ...set(NUMBER)],
  whenLengthHas(2, get(AT), load16, set(NUMBER)),
  whenLengthHas(1, get(NUMBER), get(AT), load8, add, set(NUMBER)),
  [get(SUMS[0]), get(SUMS[1]), addLanes, get(SUMS[2]), addLanes, get(SUMS[3]), addLanes, set(SUMS[0])].flat(),
  ...[0, 1, 2, 3].map((i) => [get(SUMS[0]), lane(i), get(NUMBER), add, set(NUMBER)].flat()),
  ...foldOnce,
  ...foldOnce,
  // To network order.
  [get(NUMBER), constant(0xff), and, constant(8), shiftLeft, get(NUMBER), constant(8), shiftRight, or].flat(),
];

/** With its locals: one number and the vectors. */
const CODE = [2, 1, I32, SUMS.length, V128, ...BODY.flat(), END];

import { PAGE, type WasmMemory, wasmMemory } from '../../ip/wasm.js';
import koffi from './koffi.js';

/** A block of memory that C may keep a pointer to. It does not move, and lives as long as this object. */
export interface Memory {
  readonly bytes: Uint8Array<SharedArrayBuffer>;
  readonly view: DataView<SharedArrayBuffer>;
  /** The address of the first byte. */
  readonly address: number;
}

/**
 * Allocates zeroed memory outside the garbage-collected heap: a SharedArrayBuffer, whose address is the same in
 * every thread and does not change.
 *
 * @param size in bytes
 */
export const allocate = (size: number): Memory => mapShared(new SharedArrayBuffer(size));

/** The same memory in another thread that got the buffer. */
export function mapShared(buffer: SharedArrayBuffer): Memory {
  const bytes = new Uint8Array(buffer);
  return { bytes, view: new DataView(buffer), address: Number(koffi.address(bytes)) };
}

/**
 * Allocates zeroed WebAssembly memory, in which `createChecksum` sums packets in place. It cannot grow, so it does not
 * move.
 */
export function allocateArena(size: number): Memory & { readonly memory: WasmMemory } {
  const memory = wasmMemory(Math.ceil(size / PAGE));
  return { memory, ...mapShared(memory.buffer as SharedArrayBuffer) };
}

/**
 * Writes an integer from 0 to 2^53 - 1, such as a pointer, as a little-endian u64 without a BigInt. It does not use
 * `%`, which calls fmod(3) for doubles and takes longer than a call of C.
 */
export function writeUint64(view: DataView, offset: number, value: number): void {
  view.setUint32(offset, value >>> 0, true);
  view.setUint32(offset + 4, Math.floor(value / 0x1_0000_0000), true);
}

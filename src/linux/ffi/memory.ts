import koffi from 'koffi';
import type { WasmMemory } from '../../ip/checksum-wasm.js';

/** A block of memory that C may keep a pointer to: it does not move, and lives while this object lives. */
export interface Memory {
  readonly bytes: Uint8Array<SharedArrayBuffer>;
  readonly view: DataView<SharedArrayBuffer>;
  /** The address of the first byte. */
  readonly address: number;
}

/**
 * Zeroed memory outside the garbage-collected heap. A SharedArrayBuffer, because its address is the same in
 * every thread and survives a garbage collection.
 *
 * @param size in bytes
 */
export const allocate = (size: number): Memory => mapShared(new SharedArrayBuffer(size));

/** The same memory as seen by another thread that was handed the buffer. */
export function mapShared(buffer: SharedArrayBuffer): Memory {
  const bytes = new Uint8Array(buffer);
  return { bytes, view: new DataView(buffer), address: Number(koffi.address(bytes)) };
}

/** Node has it, but no `lib` that this package is compiled with describes it. */
declare const WebAssembly: {
  readonly Memory: new (limits: { initial: number; maximum: number; shared: boolean }) => WasmMemory;
};

/** Bytes of a page of WebAssembly's memory. */
const PAGE = 65_536;

/**
 * Zeroed memory that is WebAssembly's, so that checksums are summed where packets lie: `createChecksum`. It cannot
 * grow, so it does not move.
 */
export function allocateArena(size: number): Memory & { readonly memory: WasmMemory } {
  const pages = Math.ceil(size / PAGE);
  const memory = new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
  return { memory, ...mapShared(memory.buffer as SharedArrayBuffer) };
}

/**
 * Writes an integer from 0 to 2^53 - 1, a pointer for example, as a little-endian u64 without a BigInt. Not with `%`
 * either: of two doubles it is an fmod(3), which takes longer than a call of C.
 */
export function writeUint64(view: DataView, offset: number, value: number): void {
  view.setUint32(offset, value >>> 0, true);
  view.setUint32(offset + 4, Math.floor(value / 0x1_0000_0000), true);
}

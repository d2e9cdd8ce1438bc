import koffi from 'koffi';

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

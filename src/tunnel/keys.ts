import { allocate, type Memory } from '../linux/ffi/memory.js';

const KEY = 32;
const SLOT = 2 * KEY;
const SLOTS = 128;

/** Where the two keys of a session are. */
export interface KeySlot {
  readonly page: Memory;
  readonly offset: number;
  /** Addresses, for the AEAD. */
  readonly sendingKey: number;
  readonly receivingKey: number;
}

/**
 * Memory for session keys. It does not move, so it leaves no copies behind; slots are zeroed when they are given back.
 */
export class KeyMemory {
  readonly #pages: Memory[] = [];
  readonly #free: KeySlot[] = [];

  /** Copies both keys, 64 bytes. */
  store(bytes: Uint8Array, at: number): KeySlot {
    if (this.#free.length === 0) this.#addPage();
    const slot = this.#free.pop()!;
    for (let i = 0; i < SLOT; i++) slot.page.bytes[slot.offset + i] = bytes[at + i]!;
    return slot;
  }

  erase(slot: KeySlot): void {
    slot.page.bytes.fill(0, slot.offset, slot.offset + SLOT);
    this.#free.push(slot);
  }

  /** Zeroes everything. No slot may be used afterwards. */
  eraseAll(): void {
    for (const page of this.#pages) page.bytes.fill(0);
  }

  #addPage(): void {
    const page = allocate(SLOT * SLOTS);
    this.#pages.push(page);
    for (let i = 0; i < SLOTS; i++) {
      const offset = i * SLOT;
      const sendingKey = page.address + offset;
      this.#free.push({ page, offset, sendingKey, receivingKey: sendingKey + KEY });
    }
  }
}

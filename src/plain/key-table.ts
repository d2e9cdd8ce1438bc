/** An empty slot of the index. */
const EMPTY = -1;

/**
 * A hash table of fixed size that numbers keys of fixed length. It allocates nothing once it is made, so
 * strangers cannot make it grow. A key keeps its number until it is removed, so that other arrays can use the
 * same numbers.
 */
export class KeyTable {
  readonly #keyLength: number;
  readonly #seed: number;
  readonly #keys: Uint8Array;
  readonly #used: Uint8Array;
  readonly #free: Int32Array;
  #freeCount: number;
  /** Open addressing with linear probing. At least half of the slots are empty, so every search ends. */
  readonly #index: Int32Array;

  /**
   * @param capacity the most keys that it holds; a power of two
   * @param keyLength in bytes
   * @param seed a 32-bit number that strangers cannot know, so that they cannot choose keys that collide
   */
  constructor(capacity: number, keyLength: number, seed: number) {
    this.#keyLength = keyLength;
    this.#seed = seed;
    this.#keys = new Uint8Array(capacity * keyLength);
    this.#used = new Uint8Array(capacity);
    this.#free = Int32Array.from({ length: capacity }, (_, i) => capacity - 1 - i);
    this.#freeCount = capacity;
    this.#index = new Int32Array(2 * capacity).fill(EMPTY);
  }

  /** How many keys the table holds. */
  get size(): number {
    return this.#used.length - this.#freeCount;
  }

  /** The number of the key at `offset`, or -1. */
  find(bytes: Uint8Array, offset: number): number {
    return this.#index[this.#slot(bytes, offset)]!;
  }

  /** Adds the key at `offset`, which must be new. @returns its number, or -1 when the table is full */
  add(bytes: Uint8Array, offset: number): number {
    if (this.#freeCount === 0) return -1;
    const entry = this.#free[--this.#freeCount]!;
    this.#index[this.#slot(bytes, offset)] = entry;
    this.#used[entry] = 1;
    const key = entry * this.#keyLength;
    for (let i = 0; i < this.#keyLength; i++) this.#keys[key + i] = bytes[offset + i]!;
    return entry;
  }

  /** Removes a key by its number. */
  remove(entry: number): void {
    const mask = this.#index.length - 1;
    let hole = this.#slot(this.#keys, entry * this.#keyLength);
    // An entry behind the gap that a search would no longer find moves into it (Knuth 6.4, algorithm R).
    for (let slot = (hole + 1) & mask; this.#index[slot] !== EMPTY; slot = (slot + 1) & mask) {
      const home = this.#hash(this.#keys, this.#index[slot]! * this.#keyLength) & mask;
      if (((slot - home) & mask) < ((slot - hole) & mask)) continue;
      this.#index[hole] = this.#index[slot]!;
      hole = slot;
    }
    this.#index[hole] = EMPTY;
    this.#used[entry] = 0;
    this.#free[this.#freeCount++] = entry;
  }

  /** Whether a key has this number. */
  has(entry: number): boolean {
    return this.#used[entry] === 1;
  }

  /** The lowest number of a key, or -1. */
  first(): number {
    return this.#used.indexOf(1);
  }

  /** Where in the index a key is, or would be. */
  #slot(bytes: Uint8Array, offset: number): number {
    const mask = this.#index.length - 1;
    let slot = this.#hash(bytes, offset) & mask;
    while (this.#index[slot] !== EMPTY && !this.#keyEquals(this.#index[slot]!, bytes, offset)) {
      slot = (slot + 1) & mask;
    }
    return slot;
  }

  #keyEquals(entry: number, bytes: Uint8Array, offset: number): boolean {
    const key = entry * this.#keyLength;
    for (let i = 0; i < this.#keyLength; i++) {
      if (this.#keys[key + i] !== bytes[offset + i]) return false;
    }
    return true;
  }

  /** FNV-1a, with a final step that mixes the high bits into the low ones. */
  #hash(bytes: Uint8Array, offset: number): number {
    let hash = this.#seed | 0;
    for (let i = 0; i < this.#keyLength; i++) hash = Math.imul(hash ^ bytes[offset + i]!, 0x01000193);
    hash = Math.imul(hash ^ (hash >>> 15), 0x85ebca6b);
    return hash ^ (hash >>> 13);
  }
}

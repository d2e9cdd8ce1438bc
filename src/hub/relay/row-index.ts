/**
 * Finds rows of a table by a hash of their content: open addressing in flat memory, so that a lookup allocates nothing. The
 * caller checks whether a row is the right one:
 *
 *     for (let place = index.first(hash); index.at(place) >= 0; place = index.next(place)) ...
 *
 * The hash must be unpredictable for anyone who chooses the content.
 */
export class RowIndex {
  /** The row plus 1, or 0 for an empty place. */
  readonly #places: Int32Array;
  /** By row. */
  readonly #hashes: Int32Array;
  readonly #mask: number;

  /** @param rows the number of rows; each is in the index at most once */
  constructor(rows: number) {
    let size = 8;
    while (size < 2 * rows) size *= 2;
    this.#places = new Int32Array(size);
    this.#hashes = new Int32Array(rows);
    this.#mask = size - 1;
  }

  first(hash: number): number {
    return hash & this.#mask;
  }

  next(place: number): number {
    return (place + 1) & this.#mask;
  }

  /** @returns the row there; -1 for an empty place, which ends the search */
  at(place: number): number {
    return this.#places[place]! - 1;
  }

  insert(hash: number, row: number): void {
    let place = this.first(hash);
    while (this.#places[place] !== 0) place = this.next(place);
    this.#places[place] = row + 1;
    this.#hashes[row] = hash;
  }

  /** Removes a row that is in the index. Rows that were displaced by it move up. */
  remove(row: number): void {
    const places = this.#places;
    let hole = this.first(this.#hashes[row]!);
    while (places[hole] !== row + 1) hole = this.next(hole);
    for (let place = this.next(hole); places[place] !== 0; place = this.next(place)) {
      const home = this.first(this.#hashes[places[place]! - 1]!);
      // It may move if its home is not behind the hole, going round from there to where it is.
      if (((place - home) & this.#mask) >= ((place - hole) & this.#mask)) {
        places[hole] = places[place]!;
        hole = place;
      }
    }
    places[hole] = 0;
  }
}

/** The next state of a hash that takes in 32 bits at a time. Start with something random, end with `mixed`. */
export const mix = (hash: number, word: number): number => {
  const h = Math.imul(hash ^ word, 0x85ebca6b);
  return h ^ (h >>> 15);
};

/** MurmurHash3's finalizer: every bit of the hash depends on every bit of the state. */
export const mixed = (hash: number): number => {
  let h = hash ^ (hash >>> 16);
  h = Math.imul(h, 0x85ebca6b);
  h ^= h >>> 13;
  h = Math.imul(h, 0xc2b2ae35);
  return h ^ (h >>> 16);
};

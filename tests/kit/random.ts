/** Seeded random numbers (xorshift128, Marsaglia 2003), so that a failing run can be repeated. */
export class SeededRandom {
  readonly #state = new Uint32Array(4);

  constructor(seed: number) {
    for (let i = 0; i < 4; i++) this.#state[i] = Math.imul(seed + i + 1, 0x9e3779b1) ^ (0x85ebca6b + i);
    for (let i = 0; i < 16; i++) this.word();
  }

  /** An integer below 2^32. */
  word(): number {
    const s = this.#state;
    const t = s[0]! ^ (s[0]! << 11);
    s[0] = s[1]!;
    s[1] = s[2]!;
    s[2] = s[3]!;
    s[3] = s[3]! ^ (s[3]! >>> 19) ^ t ^ (t >>> 8);
    return s[3]!;
  }

  /** A double in [0, 1). */
  fraction(): number {
    return this.word() / 2 ** 32;
  }

  /** An integer in [0, below). */
  below(below: number): number {
    return Math.floor(this.fraction() * below);
  }

  chance(probability: number): boolean {
    return this.fraction() < probability;
  }

  pick<T>(all: readonly T[]): T {
    return all[this.below(all.length)]!;
  }

  fill(out: Uint8Array): void {
    for (let i = 0; i < out.length; i++) out[i] = this.word();
  }
}

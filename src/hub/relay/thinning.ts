/** How full the kernel's queue may be before senders are held to their share: then there is room for the rest. */
export const FULL = 0.5;

/** How often it is decided, ms. */
export const THINNING_INTERVAL = 20;

/** Senders at most: those who send most. */
export const MOST = 16;

/** How a sender's part shrinks in an interval in which the queue was too full, and grows in one in which it was not. */
const SHRINK = 0.5;
const GROW = 1.25;
const LEAST = 1 / 1024;

/**
 * Of whom the kernel shall drop a part of what they send, before the relay takes it.
 *
 * Whoever sends more than the relay can even take and drop fills the kernel's queue, and others lose by it. So when the
 * queue stays too full although everybody is held to his share, those who were most above theirs are thinned out where
 * it costs next to nothing; and less and less of them is dropped once there is room.
 */
export class Thinning {
  /** Who, and the part of what each sends that passes; the first `count` hold. */
  readonly senders = new Int32Array(MOST);
  readonly keeps = new Float64Array(MOST);
  #count = 0;
  /** By sender, how many bytes it was above its share in this interval; and who was. */
  readonly #above: Float64Array;
  readonly #noted = new Int32Array(256);
  #notedCount = 0;
  #full = false;
  #decidedAt = 0;

  constructor(senders: number) {
    this.#above = new Float64Array(senders);
  }

  get count(): number {
    return this.#count;
  }

  /** A sender wanted to send so many bytes more than its share. */
  note(sender: number, bytes: number): void {
    if (this.#above[sender] === 0) {
      if (this.#notedCount === this.#noted.length) return;
      this.#noted[this.#notedCount++] = sender;
    }
    this.#above[sender]! += bytes;
  }

  /** A sender is there no more. @returns whether it was among them */
  forget(sender: number): boolean {
    const place = this.senders.subarray(0, this.#count).indexOf(sender);
    if (place >= 0) this.#remove(place);
    return place >= 0;
  }

  /**
   * To be called in every turn, and within an interval while there are any.
   *
   * @param fill how full the queue is, 0 to 1
   * @returns whether anything has changed
   */
  decide(now: number, fill: number): boolean {
    if (fill > FULL) this.#full = true;
    if (now - this.#decidedAt < THINNING_INTERVAL) return false;
    this.#decidedAt = now;
    const changes = this.#full || this.#count > 0;
    if (this.#full) this.#thin();
    else this.#relieve();
    for (let i = 0; i < this.#notedCount; i++) this.#above[this.#noted[i]!] = 0;
    this.#notedCount = 0;
    this.#full = false;
    return changes;
  }

  #thin(): void {
    let most = 0;
    for (let i = 0; i < this.#notedCount; i++) most = Math.max(most, this.#above[this.#noted[i]!]!);
    for (let i = 0; i < this.#notedCount; i++) {
      const sender = this.#noted[i]!;
      if (this.#above[sender]! < most / 2) continue;
      let place = 0;
      while (place < this.#count && this.senders[place] !== sender) place++;
      if (place === MOST) return;
      if (place === this.#count) {
        this.senders[place] = sender;
        this.keeps[place] = 1;
        this.#count++;
      }
      this.keeps[place] = Math.max(LEAST, this.keeps[place]! * SHRINK);
    }
  }

  #relieve(): void {
    for (let place = this.#count - 1; place >= 0; place--) {
      this.keeps[place]! *= GROW;
      if (this.keeps[place]! >= 1) this.#remove(place);
    }
  }

  #remove(place: number): void {
    this.#count--;
    this.senders[place] = this.senders[this.#count]!;
    this.keeps[place] = this.keeps[this.#count]!;
  }
}

/** How full the kernel's queue may be before senders are limited to their share. */
export const FULL = 0.5;

/** How often thinning is decided, ms. */
export const THINNING_INTERVAL = 20;

/** The maximum number of thinned senders: those that send most. */
export const MOST = 16;

/** How a sender's passing part shrinks in an interval with a full queue, and grows in one without. */
const SHRINK = 0.5;
const GROW = 1.25;
const LEAST = 1 / 1024;

/**
 * Decides of which senders the kernel drops a part of the datagrams, before the relay receives them.
 *
 * A sender that sends more than the relay can even receive and drop fills the kernel's queue, and other senders lose
 * datagrams. So when the queue stays too full although everyone is limited to his share, the senders furthest above theirs
 * are thinned out in the kernel, where that costs almost nothing. Once there is room, less and less is dropped.
 */
export class Thinning {
  /** The thinned senders, and the part of their datagrams that passes; the first `count` entries are valid. */
  readonly senders = new Int32Array(MOST);
  readonly keeps = new Float64Array(MOST);
  #count = 0;
  /** By sender, the bytes above its share in this interval; and which senders were above. */
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

  /** A sender wanted to send this many bytes more than its share. */
  note(sender: number, bytes: number): void {
    if (this.#above[sender] === 0) {
      if (this.#notedCount === this.#noted.length) return;
      this.#noted[this.#notedCount++] = sender;
    }
    this.#above[sender]! += bytes;
  }

  /** Forgets a sender. @returns whether it was thinned */
  forget(sender: number): boolean {
    const place = this.senders.subarray(0, this.#count).indexOf(sender);
    if (place >= 0) this.#remove(place);
    return place >= 0;
  }

  /**
   * Call this in every turn, and at least once per interval while senders are thinned.
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

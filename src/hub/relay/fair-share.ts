import { FULL, type Thinning } from './thinning.js';

/**
 * Limits the bytes per second of each sender, with a burst: one token bucket each, full at first.
 * Times in milliseconds. All buckets lie in two arrays, and one refill serves many frames, unlike a `TokenBucket`
 * for each of thousands of senders.
 */
export class RateLimit {
  readonly #perMillisecond: number;
  readonly #burst: number;
  readonly #tokens: Float64Array;
  readonly #filledAt: Float64Array;

  /**
   * @param bitsPerSecond of each of so many senders
   * @param burst bytes at once; room for a few bundles if not given
   */
  constructor(senders: number, bitsPerSecond: number, burst = MIN_BURST) {
    this.#perMillisecond = bitsPerSecond / 8000;
    this.#burst = Math.max(burst, this.#perMillisecond * BURST_TIME);
    this.#tokens = new Float64Array(senders);
    this.#filledAt = new Float64Array(senders).fill(Number.NEGATIVE_INFINITY);
  }

  /** Another member has this row from now on. */
  reset(sender: number): void {
    this.#filledAt[sender] = Number.NEGATIVE_INFINITY;
  }

  /** Adds the tokens that are due. Call once before any number of `take`. */
  fill(sender: number, now: number): void {
    const due = (now - this.#filledAt[sender]!) * this.#perMillisecond;
    this.#tokens[sender] = Math.min(
      this.#burst,
      due === Infinity ? this.#burst : this.#tokens[sender]! + due,
    );
    this.#filledAt[sender] = now;
  }

  /** @returns whether this many bytes may be sent */
  take(sender: number, bytes: number): boolean {
    if (this.#tokens[sender]! < bytes) return false;
    this.#tokens[sender]! -= bytes;
    return true;
  }
}

/** The same for frames, counted as bytes. */
export const limitFrames = (senders: number, framesPerSecond: number): RateLimit =>
  new RateLimit(senders, 8 * framesPerSecond, 0);

const BURST_TIME = 50; // ms
const MIN_BURST = 128 * 1024;

/** The extra cost of a datagram when senders are compared, bytes. */
const FRAME_COST = 256;

/**
 * The cost of a bundle of datagrams when senders are compared: more than 0 even for an empty datagram.
 *
 * @param segmentSize of each of them; the last may be shorter
 */
export function costOf(length: number, segmentSize: number): number {
  return length + FRAME_COST * Math.max(1, Math.ceil(length / Math.max(1, segmentSize)));
}

/** How long the queue must have been less full before the limits end, ms. */
const RELIEF = 50;
/** How fast the budget of a turn shrinks while the queue grows, and grows once the queue is short. */
const SHRINK = 0.8;
const GROW = 1.1;
/**
 * The minimum budget of a turn, as a part of the demand. If dropping that much does not shorten the queue, dropping more would
 * not help either. Everyone's first frame in a turn is always sent.
 */
const LEAST = 1 / 8;
const MAX_BUDGET = 64 << 20;
/** Bytes: far more than one bundle can cost. */
const MAX_WANT = 2 ** 40;

/**
 * Decides how much each sender may send while the relay is overloaded.
 *
 * The relay receives datagrams in turns, and forwards them. When it cannot keep up, the kernel's queue grows. When the queue is
 * full, the kernel drops datagrams of any sender. So while the queue is more than half full, each turn has a budget. It
 * shrinks while the queue does not, and grows once the queue is short. Senders share the budget equally: those that want
 * less than their share get all they want, the others share the rest, and what is beyond is dropped. Receiving and dropping
 * costs a fraction of forwarding, so the queue does not fill, and small senders lose nothing.
 *
 *     begin, want each, settle, may each       in every turn
 */
export class FairShare {
  readonly #wanted: Float64Array;
  readonly #used: Float64Array;
  /** The senders of this turn, and their sorted demands. */
  readonly #senders: Int32Array;
  readonly #demands: Float64Array;
  #count = 0;
  #budget = MAX_BUDGET;
  #limit = Infinity;
  #fill = 0;
  #fullAt = 0;
  #limiting = false;

  readonly #thinning: Thinning;

  /**
   * @param perTurn the maximum number of senders in a turn
   * @param thinning is told which senders were above their share
   */
  constructor(senders: number, perTurn: number, thinning: Thinning) {
    this.#thinning = thinning;
    this.#wanted = new Float64Array(senders);
    this.#used = new Float64Array(senders);
    this.#senders = new Int32Array(perTurn);
    this.#demands = new Float64Array(perTurn);
  }

  /** Whether senders are limited to their share now; if not, `want` and `settle` may be omitted. */
  get limiting(): boolean {
    return this.#limiting;
  }

  /** The budget of this turn for all senders, in addition to everyone's first frame. */
  get budget(): number {
    return this.#budget;
  }

  /**
   * Begins a turn.
   *
   * @param fill how full the kernel's queue was after this turn's datagrams were received, 0 to 1
   */
  begin(now: number, fill: number): void {
    for (let i = 0; i < this.#count; i++) this.#wanted[this.#senders[i]!] = this.#used[this.#senders[i]!] = 0;
    this.#count = 0;
    this.#limit = Infinity;
    if (fill > FULL) {
      if (!this.#limiting) this.#budget = MAX_BUDGET;
      else if (fill >= this.#fill) this.#budget *= SHRINK;
      this.#limiting = true;
      this.#fullAt = now;
    } else if (this.#limiting) {
      this.#budget = Math.min(MAX_BUDGET, this.#budget * GROW);
      this.#limiting = now - this.#fullAt < RELIEF;
    }
    this.#fill = fill;
  }

  /** Adds to a sender's demand in this turn. Anything but a positive number is ignored. */
  want(sender: number, bytes: number): void {
    if (!(bytes > 0 && bytes <= MAX_WANT)) return;
    if (this.#wanted[sender] === 0) this.#senders[this.#count++] = sender;
    this.#wanted[sender]! += bytes;
  }

  /** Shares out the budget, after all demands are known. */
  settle(): void {
    const demands = this.#demands;
    let total = 0;
    for (let i = 0; i < this.#count; i++) {
      const demand = this.#wanted[this.#senders[i]!]!;
      total += demand;
      let place = i;
      for (; place > 0 && demands[place - 1]! > demand; place--) demands[place] = demands[place - 1]!;
      demands[place] = demand;
    }
    // A budget far above the demand would take long to shrink.
    if (this.#fill > FULL) this.#budget = Math.min(this.#budget, total);
    this.#budget = Math.max(this.#budget, total * LEAST);
    let left = this.#budget;
    for (let i = 0; i < this.#count; i++) {
      const share = left / (this.#count - i);
      if (demands[i]! > share) {
        this.#limit = share;
        break;
      }
      left -= demands[i]!;
    }
    for (let i = 0; i < this.#count; i++) {
      const sender = this.#senders[i]!;
      if (this.#wanted[sender]! > this.#limit)
        this.#thinning.note(sender, this.#wanted[sender]! - this.#limit);
    }
  }

  /** @returns whether a sender may send this much more in this turn */
  may(sender: number, bytes: number): boolean {
    const used = this.#used[sender]!;
    if (used > 0 && used + bytes > this.#limit) return false;
    this.#used[sender] = used + bytes;
    return true;
  }
}

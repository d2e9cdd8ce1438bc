import { FULL, type Thinning } from './thinning.js';

/**
 * Lets each sender send so many bytes a second, and for a moment more: a bucket of tokens each, which is full at first.
 * Times in milliseconds. All buckets lie in two arrays, and one filling serves many frames: no `TokenBucket` for each
 * of thousands of senders.
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

  /** Somebody else is the sender from now on. */
  reset(sender: number): void {
    this.#filledAt[sender] = Number.NEGATIVE_INFINITY;
  }

  /** Puts in what has come due. Once before any number of `take`. */
  fill(sender: number, now: number): void {
    const due = (now - this.#filledAt[sender]!) * this.#perMillisecond;
    this.#tokens[sender] = Math.min(
      this.#burst,
      due === Infinity ? this.#burst : this.#tokens[sender]! + due,
    );
    this.#filledAt[sender] = now;
  }

  /** @returns whether so many bytes may go */
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

/** What a datagram costs beside its bytes, in bytes, where senders are compared. */
const FRAME_COST = 256;

/**
 * What a bundle of datagrams costs, where senders are compared: more than 0, an empty datagram too.
 *
 * @param segmentSize of each of them; the last may be shorter
 */
export function costOf(length: number, segmentSize: number): number {
  return length + FRAME_COST * Math.max(1, Math.ceil(length / Math.max(1, segmentSize)));
}

/** For how long it must have been less full before they are not any more, ms. */
const RELIEF = 50;
/** How fast the budget of a turn shrinks while the queue grows, and grows when it is short again. */
const SHRINK = 0.8;
const GROW = 1.1;
/**
 * What a turn may cost at least: this part of what is wanted. Where the queue does not get shorter by dropping that much,
 * dropping more would not help either. Besides, everyone's first frame in a turn always goes.
 */
const LEAST = 1 / 8;
const MAX_BUDGET = 64 << 20;
/** Bytes: far more than one bundle can cost. */
const MAX_WANT = 2 ** 40;

/**
 * Who may send how much while the relay has more to do than it can.
 *
 * The relay takes what the socket has, turn by turn, and forwards it. When it cannot keep up, the kernel's queue grows,
 * and when that is full the kernel drops whatever comes next, from anyone. So, while the queue is more than half full,
 * each turn has a budget, which shrinks as long as the queue does not, and grows when it is short again. The budget is
 * shared out equally: those who want less than their share get all they want, what they leave is the others', and what
 * is beyond is dropped. To take and drop costs a fraction of what forwarding does, so the queue does not fill, and who
 * sends little loses nothing.
 *
 *     begin, want each, settle, may each       in every turn
 */
export class FairShare {
  readonly #wanted: Float64Array;
  readonly #used: Float64Array;
  /** Senders of this turn, and what they want in order. */
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
   * @param perTurn how many senders a turn can have
   * @param thinning is told who was above its share
   */
  constructor(senders: number, perTurn: number, thinning: Thinning) {
    this.#thinning = thinning;
    this.#wanted = new Float64Array(senders);
    this.#used = new Float64Array(senders);
    this.#senders = new Int32Array(perTurn);
    this.#demands = new Float64Array(perTurn);
  }

  /** Whether senders are held to their share now; else `want` and `settle` may be left out. */
  get limiting(): boolean {
    return this.#limiting;
  }

  /** What all together may send in this turn, beside everyone's first frame. */
  get budget(): number {
    return this.#budget;
  }

  /**
   * A turn begins.
   *
   * @param fill how full the kernel's queue was behind what this turn has taken, 0 to 1
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

  /** A sender has so much to send in this turn; may be said several times. What is no positive number is ignored. */
  want(sender: number, bytes: number): void {
    if (!(bytes > 0 && bytes <= MAX_WANT)) return;
    if (this.#wanted[sender] === 0) this.#senders[this.#count++] = sender;
    this.#wanted[sender]! += bytes;
  }

  /** Shares out the budget: all are told. */
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
    // A budget far above what there is would take long to become one that matters.
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

  /** @returns whether a sender may send so much more in this turn */
  may(sender: number, bytes: number): boolean {
    const used = this.#used[sender]!;
    if (used > 0 && used + bytes > this.#limit) return false;
    this.#used[sender] = used + bytes;
    return true;
  }
}

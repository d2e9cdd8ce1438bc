/** RFC 8305 §5: how long one attempt is alone before the next is made beside it; milliseconds. */
const STAGGER = 250;
/** The same once somebody has answered at all: a hub with much to do is not helped by a second connection. */
const STAGGER_ANSWERED = 1500;

/**
 * In what order, and when, the addresses of a hub are tried: one after the other, each a moment after the one before, or
 * at once when none is under way. No I/O: whoever tries them says how it goes.
 */
export class AddressRace<T> {
  readonly #waiting: T[] = [];
  #running = 0;
  #next = -Infinity;

  /** To be tried after those that are waiting. */
  add(...candidates: readonly T[]): void {
    this.#waiting.push(...candidates);
  }

  /** What is to be tried now, if anything. */
  start(now: number): T | undefined {
    if (this.#waiting.length === 0 || now < this.nextTimeout()) return undefined;
    this.#running++;
    this.#next = now + STAGGER;
    return this.#waiting.shift();
  }

  /** One that was started has an answer, though not yet the one that wins. */
  answered(now: number): void {
    this.#next = Math.max(this.#next, now + STAGGER_ANSWERED);
  }

  /** One that was started has failed: the next may begin. */
  failed(): void {
    this.#running--;
    this.#next = -Infinity;
  }

  /** Whether all have failed. */
  get isLost(): boolean {
    return this.#running === 0 && this.#waiting.length === 0;
  }

  /** When `start` has something; Infinity when nothing waits. */
  nextTimeout(): number {
    if (this.#waiting.length === 0) return Infinity;
    return this.#running === 0 ? -Infinity : this.#next;
  }
}

/** RFC 8305 §4: the families take turns, beginning with the first one's. */
export function interleave<T>(candidates: readonly T[], isIpv6: (candidate: T) => boolean): T[] {
  const [first] = candidates;
  if (first === undefined) return [];
  const lead = isIpv6(first);
  const ours = candidates.filter((candidate) => isIpv6(candidate) === lead);
  const others = candidates.filter((candidate) => isIpv6(candidate) !== lead);
  return ours
    .flatMap((candidate, i) => (i < others.length ? [candidate, others[i]!] : [candidate]))
    .concat(others.slice(ours.length));
}

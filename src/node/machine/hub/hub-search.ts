import type { HubAddress } from '../../../protocol/token.js';
import { type HubFailure, summarise } from './hub-failure.js';
import { describe, type Target } from './target.js';

/** RFC 8305 §5: how long to wait for one attempt before starting the next, milliseconds. */
const STAGGER = 250;
/** The same once any server has answered: a second connection does not help a busy hub. */
const STAGGER_ANSWERED = 1500;

/**
 * One search for the hub: which of its addresses to try, and when, while host names are being resolved. Attempts start
 * one after another, staggered, or at once when none is running. Sans-I/O.
 */
export class HubSearch {
  readonly #preferred: Target | undefined;
  readonly #waiting: Target[] = [];
  readonly #failures: HubFailure[] = [];
  /** The addresses with a host name that is not resolved yet, by that name. */
  readonly #named = new Map<string, HubAddress[]>();
  #running = 0;
  #nextAt = -Infinity;

  /**
   * Tries literal addresses first, then host names.
   *
   * @param preferred the address that worked last, tried before all others
   */
  constructor(preferred: Target | undefined, addresses: readonly HubAddress[]) {
    this.#preferred = preferred;
    if (preferred !== undefined) this.#waiting.push(preferred);
    const literal = addresses.filter(isLiteral);
    this.#enter(literal.map((address) => ({ ip: address.host, address })));
    for (const address of addresses) {
      if (isLiteral(address)) continue;
      this.#named.set(address.host, [...(this.#named.get(address.host) ?? []), address]);
    }
  }

  /** The names to resolve, for `handleResolved`. */
  hosts(): Iterable<string> {
    return this.#named.keys();
  }

  /** @returns an address to try now; call again until it returns undefined */
  next(now: number): Target | undefined {
    if (now < this.nextTimeout()) return undefined;
    this.#running++;
    this.#nextAt = now + STAGGER;
    return this.#waiting.shift();
  }

  /** When `next` has an address. */
  nextTimeout(): number {
    if (this.#waiting.length === 0) return Infinity;
    return this.#running === 0 ? -Infinity : this.#nextAt;
  }

  /** @param found the addresses of the host, or why there are none */
  handleResolved(host: string, found: readonly string[] | HubFailure): void {
    const addresses = this.#named.get(host) ?? [];
    this.#named.delete(host);
    if ('kind' in found) this.#failures.push(found);
    else this.#enter(addresses.flatMap((address) => found.map((ip) => ({ ip, address }))));
  }

  /** A server answered an attempt: the next one can wait longer. */
  answered(now: number): void {
    this.#nextAt = Math.max(this.#nextAt, now + STAGGER_ANSWERED);
  }

  /** An attempt has failed: the next may start. */
  failed(failure: HubFailure): void {
    this.#failures.push(failure);
    this.#running--;
    this.#nextAt = -Infinity;
  }

  /** Why all addresses have failed; undefined while any may still work. */
  get failure(): HubFailure | undefined {
    const isOver = this.#running === 0 && this.#waiting.length === 0 && this.#named.size === 0;
    return isOver ? summarise(this.#failures) : undefined;
  }

  #enter(targets: readonly Target[]): void {
    const isNew = (target: Target): boolean =>
      this.#preferred === undefined || describe(target) !== describe(this.#preferred);
    this.#waiting.push(...interleave(targets.filter(isNew)));
  }
}

const isLiteral = ({ host }: HubAddress): boolean => /^[\d.]+$|:/.test(host);
const isIpv6 = ({ ip }: Target): boolean => ip.includes(':');

/** RFC 8305 §4: IPv4 and IPv6 take turns, beginning with the family of the first address. */
function interleave(targets: readonly Target[]): Target[] {
  const isOfFirst = targets.map((target) => isIpv6(target) === isIpv6(targets[0]!));
  const leading = targets.filter((_, i) => isOfFirst[i]);
  const others = targets.filter((_, i) => !isOfFirst[i]);
  return targets.flatMap((_, i) => [leading[i] ?? [], others[i] ?? []].flat());
}

import type { HubAddress } from '../../../protocol/token.js';
import { AddressRace, interleave } from './address-race.js';
import { type HubFailure, summarise } from './hub-failure.js';
import { describe, type Target } from './target.js';

/** One search for the hub: which of its addresses to try, and when, while names are being resolved. Sans-I/O. */
export class HubSearch {
  readonly #preferred: Target | undefined;
  readonly #race = new AddressRace<Target>();
  readonly #failures: HubFailure[] = [];
  /** Those whose hosts are names, by host, until they are resolved. */
  readonly #named = new Map<string, HubAddress[]>();

  /**
   * Literal addresses are tried first, then what names lead to.
   *
   * @param preferred the address that was last good comes before all others
   */
  constructor(preferred: Target | undefined, addresses: readonly HubAddress[]) {
    this.#preferred = preferred;
    if (preferred !== undefined) this.#race.add(preferred);
    const literal = addresses.filter(isLiteral);
    this.#enter(literal.map((address) => ({ ip: address.host, address })));
    for (const address of addresses) {
      if (isLiteral(address)) continue;
      this.#named.set(address.host, [...(this.#named.get(address.host) ?? []), address]);
    }
  }

  /** The names to resolve; `handleResolved` takes what comes of it. */
  hosts(): Iterable<string> {
    return this.#named.keys();
  }

  /** @returns the address to try now, if any: again until there is none */
  next(now: number): Target | undefined {
    return this.#race.start(now);
  }

  nextTimeout(): number {
    return this.#race.nextTimeout();
  }

  /** The addresses that a host has, or why there are none. */
  handleResolved(host: string, found: readonly string[] | HubFailure): void {
    const addresses = this.#named.get(host) ?? [];
    this.#named.delete(host);
    if ('kind' in found) this.#failures.push(found);
    else this.#enter(addresses.flatMap((address) => found.map((ip) => ({ ip, address }))));
  }

  /** A server answered at an address that was tried: the others need not hurry. */
  answered(now: number): void {
    this.#race.answered(now);
  }

  /** An attempt has failed. */
  failed(failure: HubFailure): void {
    this.#failures.push(failure);
    this.#race.failed();
  }

  /** Why all addresses have failed; undefined while any has not. */
  get failure(): HubFailure | undefined {
    return this.#race.isLost && this.#named.size === 0 ? summarise(this.#failures) : undefined;
  }

  #enter(targets: readonly Target[]): void {
    const isNew = (target: Target): boolean =>
      this.#preferred === undefined || describe(target) !== describe(this.#preferred);
    this.#race.add(...interleave(targets.filter(isNew), ({ ip }) => ip.includes(':')));
  }
}

const isLiteral = ({ host }: HubAddress): boolean => /^[\d.]+$|:/.test(host);

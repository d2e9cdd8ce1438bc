import type { HubAddress } from '../../../protocol/token.js';
import { describe, type Target, targetsOf } from '../../shell/hub-socket.js';
import { AddressRace, interleave } from './address-race.js';
import { type HubFailure, summarise } from './hub-failure.js';

export interface SearchHandlers {
  /** This one is to be tried now. */
  attempt(target: Target): void;
  /** The next is to be tried at `nextTimeout()`. */
  waiting(): void;
  /** All addresses have failed. */
  lost(failure: HubFailure): void;
}

/** One search for the hub: which of its addresses to try when, and names looked up meanwhile; until it is ended. */
export class HubSearch {
  readonly #preferred: Target | undefined;
  readonly #handlers: SearchHandlers;
  readonly #race = new AddressRace<Target>();
  readonly #failures: HubFailure[] = [];
  #resolving = 0;
  #isOver = false;

  /** @param preferred the address that was last good comes first */
  constructor(preferred: Target | undefined, handlers: SearchHandlers) {
    this.#preferred = preferred;
    this.#handlers = handlers;
  }

  /** Tries them all: addresses first, then what names lead to. */
  start(addresses: readonly HubAddress[]): void {
    if (this.#preferred !== undefined) this.#race.add(this.#preferred);
    const literal = addresses.filter(isLiteral);
    const named = addresses.filter((address) => !isLiteral(address));
    this.#enter(literal.map((address) => ({ ip: address.host, address })));
    this.#resolving = named.length;
    for (const address of named) void this.#resolve(address);
    this.go();
  }

  /** Starts what is due, and gives up when nothing is left. */
  go(): void {
    if (this.#isOver) return;
    for (let target = this.#due(); target !== undefined; target = this.#due()) this.#handlers.attempt(target);
    if (this.#race.isLost && this.#resolving === 0) this.#handlers.lost(summarise(this.#failures));
    else this.#handlers.waiting();
  }

  nextTimeout(): number {
    return this.#race.nextTimeout();
  }

  /** There is somebody at an address that was tried: others need not be in a hurry. */
  answered(): void {
    this.#race.answered(performance.now());
  }

  /** An attempt came to nothing. */
  failed(failure: HubFailure): void {
    this.#failures.push(failure);
    this.#race.failed();
    this.go();
  }

  /** There is a connection, or nobody wants one any more. */
  end(): void {
    this.#isOver = true;
  }

  #due(): Target | undefined {
    return this.#race.start(performance.now());
  }

  async #resolve(address: HubAddress): Promise<void> {
    try {
      this.#enter(await targetsOf(address));
    } catch (error) {
      this.#failures.push(error as HubFailure);
    }
    this.#resolving--;
    this.go();
  }

  #enter(targets: readonly Target[]): void {
    const isNew = (target: Target): boolean =>
      this.#preferred === undefined || describe(target) !== describe(this.#preferred);
    this.#race.add(...interleave(targets.filter(isNew), ({ ip }) => ip.includes(':')));
  }
}

const isLiteral = ({ host }: HubAddress): boolean => /^[\d.]+$|:/.test(host);

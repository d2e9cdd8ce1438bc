import type { Cidr } from '../ip/cidr.js';
import { type Prefix, PrefixTable } from '../ip/prefix-table.js';
import type { PeerNumber } from '../wireguard/numbers.js';

/** How long the data plane may go without changes of a request that does not come to its end, milliseconds. */
const LONGEST_DELAY = 100;

/**
 * Which peer may send from, and gets what is sent to, which addresses; and the numbers of peers that may be given
 * to others only when the data plane has heard that they have no addresses any more.
 *
 * The data plane gets the table as a whole, so changes are collected until `commit`.
 */
export class AllowedIps {
  readonly #table = new PrefixTable();
  readonly #publish: (table: Int32Array) => unknown;
  readonly #release: (owner: PeerNumber) => unknown;
  readonly #gone: PeerNumber[] = [];
  #changed = false;
  #timer: NodeJS.Timeout | undefined;

  /**
   * @param publish hands the data plane a table, in shared memory
   * @param release takes back an owner's number
   */
  constructor(publish: (table: Int32Array) => unknown, release: (owner: PeerNumber) => unknown) {
    this.#publish = publish;
    this.#release = release;
  }

  insert({ address, prefix }: Cidr, owner: PeerNumber): void {
    this.#table.insert(address, prefix, owner);
    this.#note();
  }

  /** Does nothing when the network is not that owner's. */
  remove({ address, prefix }: Cidr, owner: PeerNumber): void {
    if (this.#table.remove(address, prefix, owner)) this.#note();
  }

  removeAllOf(owner: PeerNumber): void {
    this.#table.removeOwner(owner);
    this.#note();
  }

  /** An owner is no more. Its number is released when nothing leads to it. */
  removeOwner(owner: PeerNumber): void {
    this.removeAllOf(owner);
    this.#gone.push(owner);
  }

  of(owner: PeerNumber): Iterable<Prefix> {
    return this.#table.ownedBy(owner);
  }

  /** Lets the data plane know of all changes. */
  commit(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (!this.#changed) return;
    this.#changed = false;
    this.#publish(this.#table.compile(sharedWords));
    for (const owner of this.#gone.splice(0)) this.#release(owner);
  }

  #note(): void {
    this.#changed = true;
    this.#timer ??= setTimeout(() => this.commit(), LONGEST_DELAY);
  }
}

const sharedWords = (words: number): Int32Array => new Int32Array(new SharedArrayBuffer(4 * words));

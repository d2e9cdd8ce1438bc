import type { Cidr } from '../ip/cidr.js';
import { type Prefix, PrefixTable } from '../ip/prefix-table.js';
import type { PeerNumber } from '../wireguard/numbers.js';

/** How long the data plane may be without the changes of an unfinished request, milliseconds. */
const LONGEST_DELAY = 100;

/**
 * Which addresses belong to which peer. Also holds back the numbers of removed peers until the data plane knows that
 * they have no addresses.
 *
 * The data plane gets the whole table, so changes are collected until `commit`.
 */
export class AllowedIps {
  readonly #table = new PrefixTable();
  readonly #publish: (table: Int32Array) => unknown;
  readonly #release: (owner: PeerNumber) => unknown;
  readonly #gone: PeerNumber[] = [];
  #changed = false;
  #timer: NodeJS.Timeout | undefined;

  /**
   * @param publish gives the data plane a table, in shared memory
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

  /** Does nothing if the network is not that owner's. */
  remove({ address, prefix }: Cidr, owner: PeerNumber): void {
    if (this.#table.remove(address, prefix, owner)) this.#note();
  }

  removeAllOf(owner: PeerNumber): void {
    this.#table.removeOwner(owner);
    this.#note();
  }

  /** Removes an owner. Its number is released when no address leads to it. */
  removeOwner(owner: PeerNumber): void {
    this.removeAllOf(owner);
    this.#gone.push(owner);
  }

  of(owner: PeerNumber): Iterable<Prefix> {
    return this.#table.ownedBy(owner);
  }

  /** Tells the data plane all changes. */
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

import { allocate, type Memory } from '../../linux/ffi/memory.js';
import { AF, SOCKADDR_IN, SOCKADDR_IN6 } from '../../linux/net/socket-address.js';
import { ENDPOINT } from '../../packets/udp-batch.js';
import { BIND_LIFETIME } from '../../protocol/relay.js';
import { mix, mixed, RowIndex } from './row-index.js';

/** A member's session key, bytes. */
export const KEY_LENGTH = 32;

/** Room for one more socket address behind the members': that of the sender to look up. */
const SOUGHT = 1;

/**
 * Which members are attached, and to which endpoint each is bound. The relay's main thread gives each member a row. All data
 * is in flat arrays by row, so memory is limited and a lookup allocates nothing.
 *
 *     add, remove        as members attach and detach
 *     byId, bySender     per datagram
 *     bind, expire       as they bind, or fail to
 */
export class RelayMembers {
  /** The endpoints of bound members: one `ENDPOINT` record per row. */
  readonly endpoints: Memory;
  /** By row: id, 0 for none; the random half of the session; the highest sequence of a bind. */
  readonly ids: Int32Array;
  readonly tags: Int32Array;
  readonly sequences: Float64Array;
  /** By row, until when it is bound, ms; 0 when it is not. */
  readonly #until: Float64Array;
  readonly #keys: Uint8Array;
  readonly #byId: RowIndex;
  readonly #byAddress: RowIndex;
  readonly #seed: number;
  /** By row, 1 when it is bound; the other thread reads this. */
  readonly #flags: Int32Array;
  readonly #rows: number;
  /** The first row that was never used. */
  #end = 0;
  #bound = 0;

  /**
   * @param flags in shared memory, one per row
   * @param seed random, for the hashes
   */
  constructor(flags: Int32Array, seed: number) {
    const rows = flags.length;
    this.#rows = rows;
    this.#flags = flags;
    this.#seed = seed;
    this.endpoints = allocate((rows + SOUGHT) * ENDPOINT.size);
    this.ids = new Int32Array(rows);
    this.tags = new Int32Array(rows);
    this.sequences = new Float64Array(rows);
    this.#until = new Float64Array(rows);
    this.#keys = new Uint8Array(rows * KEY_LENGTH);
    this.#byId = new RowIndex(rows);
    this.#byAddress = new RowIndex(rows);
  }

  /** How many are bound. */
  get bound(): number {
    return this.#bound;
  }

  /** @param key `KEY_LENGTH` bytes, which are copied */
  add(row: number, id: number, tag: number, key: Uint8Array): void {
    this.remove(row);
    this.ids[row] = id;
    this.tags[row] = tag;
    this.sequences[row] = Number.NEGATIVE_INFINITY;
    this.#keys.set(key, row * KEY_LENGTH);
    this.#byId.insert(this.#hashOfId(id | 0), row);
    this.#end = Math.max(this.#end, row + 1);
  }

  /** Does nothing if the row is free. */
  remove(row: number): void {
    if (this.ids[row] === 0) return;
    this.unbind(row);
    this.#byId.remove(row);
    this.ids[row] = 0;
    this.#keys.fill(0, row * KEY_LENGTH, (row + 1) * KEY_LENGTH);
  }

  /** @param id as an i32 @returns its row; -1 when it is not attached */
  byId(id: number): number {
    const index = this.#byId;
    for (let place = index.first(this.#hashOfId(id)); ; place = index.next(place)) {
      const row = index.at(place);
      if (row < 0 || this.ids[row] === id) return row;
    }
  }

  /** The session key of a row: a view of it. */
  key(row: number): Uint8Array {
    return this.#keys.subarray(row * KEY_LENGTH, (row + 1) * KEY_LENGTH);
  }

  /** Whether a member has a UDP address. */
  isBound(row: number): boolean {
    return this.#until[row]! > 0;
  }

  /** @param name offset of a socket address in the kernel's format @returns the row bound to it; -1 if none */
  bySender(view: DataView, name: number): number {
    const index = this.#byAddress;
    for (let place = index.first(this.#hashOfName(view, name)); ; place = index.next(place)) {
      const row = index.at(place);
      if (row < 0 || this.#isAt(row, view, name)) return row;
    }
  }

  /** The caller writes the `ENDPOINT` record for `bind` and `isBoundTo` here. */
  get sought(): number {
    return this.#rows * ENDPOINT.size;
  }

  /** Whether a member is already bound to the endpoint in `sought`. */
  isBoundToSought(row: number): boolean {
    return this.isBound(row) && this.#isAt(row, this.endpoints.view, this.sought + ENDPOINT.name);
  }

  /**
   * Binds a member to the endpoint in `sought`: frames from there are the member's, and frames for it go there. A member that
   * had the endpoint before loses it, because a NAT has reassigned it.
   */
  bind(row: number, now: number): void {
    const { bytes, view } = this.endpoints;
    const before = this.bySender(view, this.sought + ENDPOINT.name);
    if (before !== row) {
      if (before >= 0) this.unbind(before);
      this.unbind(row);
      this.#byAddress.insert(this.#hashOfName(view, this.sought + ENDPOINT.name), row);
      this.#bound++;
      Atomics.store(this.#flags, row, 1);
    }
    // Even if the endpoint is the same: the source address that the member writes to may have changed.
    bytes.copyWithin(row * ENDPOINT.size, this.sought, this.sought + ENDPOINT.size);
    this.#until[row] = now + BIND_LIFETIME;
  }

  unbind(row: number): void {
    if (!this.isBound(row)) return;
    this.#byAddress.remove(row);
    this.#until[row] = 0;
    this.#bound--;
    Atomics.store(this.#flags, row, 0);
  }

  /** Forgets members that did not bind again in time. */
  expire(now: number): void {
    for (let row = 0; row < this.#end; row++) {
      const until = this.#until[row]!;
      if (until > 0 && until <= now) this.unbind(row);
    }
  }

  #isAt(row: number, view: DataView, name: number): boolean {
    const own = this.endpoints.view;
    const at = row * ENDPOINT.size + ENDPOINT.name;
    if (own.getUint32(at) !== view.getUint32(name) || own.getInt32(at + 4) !== view.getInt32(name + 4)) {
      return false;
    }
    if (own.getUint16(at, true) === AF.inet) return true; // family, port and address are the first eight bytes
    for (let i = SOCKADDR_IN6.address; i < SOCKADDR_IN6.size; i += 4) {
      if (own.getInt32(at + i) !== view.getInt32(name + i)) return false;
    }
    return true;
  }

  #hashOfName(view: DataView, name: number): number {
    let hash = mix(this.#seed, view.getInt32(name)); // family and port
    if (view.getUint16(name, true) === AF.inet)
      return mixed(mix(hash, view.getInt32(name + SOCKADDR_IN.address)));
    for (let i = SOCKADDR_IN6.address; i < SOCKADDR_IN6.size; i += 4) {
      hash = mix(hash, view.getInt32(name + i));
    }
    return mixed(hash);
  }

  #hashOfId(id: number): number {
    return mixed(mix(this.#seed, id));
  }
}

/** A set of addresses that begin alike, and who it belongs to: any number from 0 to 2^31 - 1. */
export interface Prefix {
  /** 4 or 16 bytes; the bits beyond `length` are zero. */
  readonly address: Uint8Array;
  readonly length: number;
  readonly owner: number;
}

/**
 * Which owner has the longest prefix of an address: routing, and WireGuard's allowed IPs. A prefix has one owner
 * at a time. This is the table that is changed; `compile` makes the one that is looked up, as a whole.
 */
export class PrefixTable {
  readonly #prefixes = new Map<number | string, Prefix>();
  /** By owner, so that listing and removing do not search the whole table. */
  readonly #owned = new Map<number, Map<number | string, Prefix>>();

  get size(): number {
    return this.#prefixes.size;
  }

  /** Gives a prefix to an owner, taking it from the one that had it. Bits beyond `length` are ignored. */
  insert(address: Uint8Array, length: number, owner: number): void {
    const masked = maskAddress(address, length);
    const key = keyOf(masked, length);
    const before = this.#prefixes.get(key);
    if (before) this.#owned.get(before.owner)?.delete(key);
    const prefix = { address: masked, length, owner };
    this.#prefixes.set(key, prefix);
    let owned = this.#owned.get(owner);
    if (!owned) {
      owned = new Map();
      this.#owned.set(owner, owned);
    }
    owned.set(key, prefix);
  }

  /** Takes a prefix from an owner; does nothing, and returns false, when it is not that owner's. */
  remove(address: Uint8Array, length: number, owner: number): boolean {
    const key = keyOf(maskAddress(address, length), length);
    if (!this.#owned.get(owner)?.delete(key)) return false;
    return this.#prefixes.delete(key);
  }

  removeOwner(owner: number): void {
    for (const key of this.#owned.get(owner)?.keys() ?? []) this.#prefixes.delete(key);
    this.#owned.delete(owner);
  }

  /** The prefixes of an owner, in the order they were given to it. */
  ownedBy(owner: number): IterableIterator<Prefix> {
    return (this.#owned.get(owner) ?? new Map<number, Prefix>()).values();
  }

  [Symbol.iterator](): IterableIterator<Prefix> {
    return this.#prefixes.values();
  }

  /**
   * Makes the flat table that `PrefixLookup` reads.
   *
   * @param allocate where it is to lie: for another thread, over a SharedArrayBuffer
   */
  compile(allocate: (words: number) => Int32Array = (words) => new Int32Array(words)): Int32Array {
    const builder = new TrieBuilder(this.#prefixes.size);
    for (const { address, length, owner } of this.#prefixes.values()) builder.insert(address, length, owner);
    const table = allocate(builder.words);
    table.set(builder.nodes.subarray(0, builder.words));
    return table;
  }
}

/**
 * A node of the flat trie: how many bits its prefix has; the owner, or -1 where only a branch is; where the
 * nodes for a next bit of 0 and 1 begin, 0 for none; the prefix in four words of 32 bits, for IPv4 the first.
 * Two heads at the start hold the roots' places. Nodes without owner have both children, so there are at most
 * two nodes per prefix, and a lookup visits no more nodes than prefixes that are nested or differ.
 */
const NODE = { length: 0, owner: 1, zero: 2, one: 3, address: 4, words: 8 } as const;
const HEAD = { ipv4: 0, ipv6: 1, words: 8 } as const;

/** Looks addresses up in a compiled table, without allocating. */
export class PrefixLookup {
  readonly #table: Int32Array;

  constructor(table: Int32Array) {
    this.#table = table;
  }

  /** The owner of the longest prefix of the 4 bytes at `at`; -1 if none has one. */
  find4(bytes: Uint8Array, at: number): number {
    const table = this.#table;
    const address = word(bytes, at);
    let owner = -1;
    for (let node = table[HEAD.ipv4]!; node !== 0; ) {
      const length = table[node + NODE.length]!;
      if (length > 0 && (address ^ table[node + NODE.address]!) >>> (32 - length) !== 0) break;
      if (table[node + NODE.owner]! >= 0) owner = table[node + NODE.owner]!;
      if (length === 32) break;
      node = table[node + NODE.zero + ((address >>> (31 - length)) & 1)]!;
    }
    return owner;
  }

  /** The owner of the longest prefix of the 16 bytes at `at`; -1 if none has one. */
  find6(bytes: Uint8Array, at: number): number {
    const table = this.#table;
    let owner = -1;
    let checked = 0; // words that the nodes so far have compared whole
    for (let node = table[HEAD.ipv6]!; node !== 0; ) {
      const length = table[node + NODE.length]!;
      for (; checked < length >> 5; checked++) {
        if (word(bytes, at + checked * 4) !== table[node + NODE.address + checked]!) return owner;
      }
      const rest = length & 31;
      if (rest > 0) {
        const difference = word(bytes, at + checked * 4) ^ table[node + NODE.address + checked]!;
        if (difference >>> (32 - rest) !== 0) return owner;
      }
      if (table[node + NODE.owner]! >= 0) owner = table[node + NODE.owner]!;
      if (length === 128) return owner;
      node = table[node + NODE.zero + ((bytes[at + (length >> 3)]! >> (7 - (length & 7))) & 1)]!;
    }
    return owner;
  }
}

/** The big-endian word at `at`, as a signed integer, as an Int32Array holds it. */
const word = (bytes: Uint8Array, at: number): number =>
  (bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!;

class TrieBuilder {
  readonly nodes: Int32Array;
  words: number = HEAD.words;

  constructor(prefixes: number) {
    this.nodes = new Int32Array(HEAD.words + 2 * prefixes * NODE.words);
  }

  insert(address: Uint8Array, length: number, owner: number): void {
    const { nodes } = this;
    let link: number = address.length === 4 ? HEAD.ipv4 : HEAD.ipv6;
    for (;;) {
      const node = nodes[link]!;
      if (node === 0) {
        nodes[link] = this.#add(address, length, owner);
        return;
      }
      const nodeLength = nodes[node + NODE.length]!;
      const common = this.#commonBits(node, address, Math.min(length, nodeLength));
      if (common === nodeLength) {
        if (common === length) {
          nodes[node + NODE.owner] = owner;
          return;
        }
        link = node + NODE.zero + bitAt(address, common);
        continue;
      }
      // The node's prefix goes on where ours ends or differs: a shorter node comes between.
      const between = this.#add(address, common, common === length ? owner : -1);
      nodes[between + NODE.zero + this.#nodeBit(node, common)] = node;
      nodes[link] = between;
      if (common === length) return;
      link = between + NODE.zero + bitAt(address, common);
    }
  }

  #add(address: Uint8Array, length: number, owner: number): number {
    const node = this.words;
    this.words += NODE.words;
    this.nodes[node + NODE.length] = length;
    this.nodes[node + NODE.owner] = owner;
    for (let i = 0; i < address.length / 4; i++) this.nodes[node + NODE.address + i] = word(address, i * 4);
    return node;
  }

  /** How many bits, up to `limit`, an address has in common with a node's prefix. */
  #commonBits(node: number, address: Uint8Array, limit: number): number {
    for (let bit = 0; bit < limit; bit += 32) {
      const difference = this.nodes[node + NODE.address + (bit >> 5)]! ^ word(address, bit >> 3);
      if (difference !== 0) return Math.min(limit, bit + Math.clz32(difference));
    }
    return limit;
  }

  #nodeBit(node: number, bit: number): number {
    return (this.nodes[node + NODE.address + (bit >> 5)]! >>> (31 - (bit & 31))) & 1;
  }
}

const bitAt = (address: Uint8Array, bit: number): number => (address[bit >> 3]! >> (7 - (bit & 7))) & 1;

/** A copy of an address without the bits beyond `length`. */
function maskAddress(address: Uint8Array, length: number): Uint8Array {
  const masked = Uint8Array.from(address);
  for (let i = length >> 3; i < masked.length; i++) {
    masked[i]! &= i === length >> 3 ? 0xff00 >> (length & 7) : 0;
  }
  return masked;
}

/** IPv4 prefixes fit into a double, which makes for faster maps. */
function keyOf(address: Uint8Array, length: number): number | string {
  if (address.length === 4) return (word(address, 0) >>> 0) * 64 + length;
  return `${String.fromCharCode(...address)}/${length}`;
}

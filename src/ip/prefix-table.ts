/** A prefix of addresses, and its owner: any number from 0 to 2^31 - 1. */
export interface Prefix {
  /** 4 or 16 bytes; the bits beyond `length` are zero. */
  readonly address: Uint8Array;
  readonly length: number;
  readonly owner: number;
}

/** A prefix in its owner's list. Its words are those of `NODE.address`. */
interface Entry {
  readonly isIpv4: boolean;
  readonly word0: number;
  readonly word1: number;
  readonly word2: number;
  readonly word3: number;
  readonly length: number;
  /** -1 once it is removed. An iteration that stands here may still go on to the next one. */
  owner: number;
  before: Entry | undefined;
  after: Entry | undefined;
}

/** An owner's prefixes, oldest first. */
interface Owned {
  first: Entry | undefined;
  last: Entry | undefined;
}

/**
 * Finds the owner of an address's longest prefix, for routing and for WireGuard's allowed IPs. A prefix has one owner
 * at a time. This table can be changed; `compile` makes the one for look-ups, as a whole.
 */
export class PrefixTable {
  readonly #entries = new Map<number | string, Entry>();
  /** By owner, so that listing and removing need not search the whole table. */
  readonly #owned = new Map<number, Owned>();

  get size(): number {
    return this.#entries.size;
  }

  /** Gives a prefix to an owner, and takes it from the previous one. Bits beyond `length` are ignored. */
  insert(address: Uint8Array, length: number, owner: number): void {
    const isIpv4 = address.length === 4;
    const word0 = maskedWord(address, 0, length);
    const word1 = isIpv4 ? 0 : maskedWord(address, 4, length);
    const word2 = isIpv4 ? 0 : maskedWord(address, 8, length);
    const word3 = isIpv4 ? 0 : maskedWord(address, 12, length);
    const key = keyOf(isIpv4, word0, word1, word2, word3, length);
    const replaced = this.#entries.get(key);
    if (replaced) this.#unlink(replaced);
    const owned = this.#owned.get(owner) ?? this.#addOwner(owner);
    const before = owned.last;
    const entry = { isIpv4, word0, word1, word2, word3, length, owner, before, after: undefined };
    if (before) before.after = entry;
    else owned.first = entry;
    owned.last = entry;
    this.#entries.set(key, entry);
  }

  /** Takes a prefix from an owner. @returns false if it is not that owner's, and nothing has changed */
  remove(address: Uint8Array, length: number, owner: number): boolean {
    const isIpv4 = address.length === 4;
    const words = [0, 4, 8, 12].map((at) => (at < address.length ? maskedWord(address, at, length) : 0));
    const key = keyOf(isIpv4, words[0]!, words[1]!, words[2]!, words[3]!, length);
    const entry = this.#entries.get(key);
    if (entry?.owner !== owner) return false;
    this.#unlink(entry);
    return this.#entries.delete(key);
  }

  removeOwner(owner: number): void {
    for (let entry = this.#owned.get(owner)?.first; entry; entry = entry.after) {
      this.#entries.delete(keyOfEntry(entry));
      entry.owner = -1;
    }
    this.#owned.delete(owner);
  }

  /** An owner's prefixes in the order they were given. The table may change during the iteration. */
  *ownedBy(owner: number): Generator<Prefix, void, void> {
    for (let entry = this.#owned.get(owner)?.first; entry; entry = entry.after) {
      if (entry.owner === owner) yield { address: addressOf(entry), length: entry.length, owner };
    }
  }

  /**
   * Makes the flat table that `PrefixLookup` reads.
   *
   * @param allocate makes its memory; over a SharedArrayBuffer for another thread
   */
  compile(allocate: (words: number) => Int32Array = (words) => new Int32Array(words)): Int32Array {
    const builder = new TrieBuilder(this.#entries.size);
    for (const entry of this.#entries.values()) builder.insert(entry);
    const table = allocate(builder.words);
    table.set(builder.nodes.subarray(0, builder.words));
    return table;
  }

  #addOwner(owner: number): Owned {
    const owned = { first: undefined, last: undefined };
    this.#owned.set(owner, owned);
    return owned;
  }

  #unlink(entry: Entry): void {
    const owned = this.#owned.get(entry.owner)!;
    if (entry.before) entry.before.after = entry.after;
    else owned.first = entry.after;
    if (entry.after) entry.after.before = entry.before;
    else owned.last = entry.before;
    entry.owner = -1;
  }
}

/**
 * A node of the flat trie: the length of its prefix in bits; the owner, or -1 for a mere branch; where the nodes
 * for a next bit of 0 and 1 begin, 0 for none; the prefix in four words of 32 bits, or one for IPv4.
 * Two heads at the start hold the roots' places. Nodes without owner have both children, so there are at most
 * two nodes per prefix, and a lookup visits no more nodes than prefixes that are nested or differ.
 */
const NODE = { length: 0, owner: 1, zero: 2, one: 3, address: 4, words: 8 } as const;
const HEAD = { ipv4: 0, ipv6: 1, words: 8 } as const;

/** Looks up addresses in a compiled table, without allocating. */
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
    let checked = 0; // words that previous nodes have compared completely
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
  /** The address that is being inserted. */
  readonly #address = new Int32Array(4);

  constructor(prefixes: number) {
    this.nodes = new Int32Array(HEAD.words + 2 * prefixes * NODE.words);
  }

  insert({ isIpv4, word0, word1, word2, word3, length, owner }: Entry): void {
    const { nodes } = this;
    const address = this.#address;
    address[0] = word0;
    address[1] = word1;
    address[2] = word2;
    address[3] = word3;
    let link: number = isIpv4 ? HEAD.ipv4 : HEAD.ipv6;
    for (;;) {
      const node = nodes[link]!;
      if (node === 0) {
        nodes[link] = this.#add(length, owner);
        return;
      }
      const nodeLength = nodes[node + NODE.length]!;
      const common = this.#commonBits(node, Math.min(length, nodeLength));
      if (common === nodeLength) {
        if (common === length) {
          nodes[node + NODE.owner] = owner;
          return;
        }
        link = node + NODE.zero + bitAt(address, 0, common);
        continue;
      }
      // The node's prefix continues where the new one ends or differs, so a shorter node comes between.
      const between = this.#add(common, common === length ? owner : -1);
      nodes[between + NODE.zero + bitAt(nodes, node + NODE.address, common)] = node;
      nodes[link] = between;
      if (common === length) return;
      link = between + NODE.zero + bitAt(address, 0, common);
    }
  }

  #add(length: number, owner: number): number {
    const node = this.words;
    this.words += NODE.words;
    this.nodes[node + NODE.length] = length;
    this.nodes[node + NODE.owner] = owner;
    for (let i = 0; i < 4; i++) this.nodes[node + NODE.address + i] = this.#address[i]!;
    return node;
  }

  /** How many bits, up to `limit`, the address has in common with a node's prefix. */
  #commonBits(node: number, limit: number): number {
    for (let bit = 0; bit < limit; bit += 32) {
      const difference = this.nodes[node + NODE.address + (bit >> 5)]! ^ this.#address[bit >> 5]!;
      if (difference !== 0) return Math.min(limit, bit + Math.clz32(difference));
    }
    return limit;
  }
}

/** A bit of an address in big-endian words, the first of which is at `at`. */
const bitAt = (words: Int32Array, at: number, bit: number): number =>
  (words[at + (bit >> 5)]! >>> (31 - (bit & 31))) & 1;

/** The word at `at` of an address, without the bits beyond a prefix of `length`. */
function maskedWord(address: Uint8Array, at: number, length: number): number {
  const rest = length - at * 8;
  if (rest <= 0) return 0;
  return rest >= 32 ? word(address, at) : word(address, at) & (-1 << (32 - rest));
}

function addressOf({ isIpv4, word0, word1, word2, word3 }: Entry): Uint8Array {
  const address = new Uint8Array(isIpv4 ? 4 : 16);
  const view = new DataView(address.buffer);
  view.setInt32(0, word0);
  if (isIpv4) return address;
  view.setInt32(4, word1);
  view.setInt32(8, word2);
  view.setInt32(12, word3);
  return address;
}

const keyOfEntry = ({ isIpv4, word0, word1, word2, word3, length }: Entry): number | string =>
  keyOf(isIpv4, word0, word1, word2, word3, length);

/** A key for maps. IPv4 prefixes fit into a double, which is faster. */
function keyOf(
  isIpv4: boolean,
  word0: number,
  word1: number,
  word2: number,
  word3: number,
  length: number,
): number | string {
  if (isIpv4) return (word0 >>> 0) * 64 + length;
  return `${word0},${word1},${word2},${word3}/${length}`;
}

import { formatAddress, parseAddress } from '../../ip/address.js';
import { type Cidr, contains, formatCidr, overlap, parseCidr } from '../../ip/cidr.js';
import { memberRange } from '../../protocol/layout.js';
import type { MapChange } from '../../protocol/map.js';
import type { Addresses, MapNode, NetworkInfo } from '../../protocol/messages.js';
import type { NodeId } from '../../protocol/node-id.js';
import { NameClaims, type Renaming } from './name-claims.js';
import { type ShareSurroundings, shareCollision } from './ranges.js';

/** A member that this node deals with: what the hub said of it has passed the checks. */
export interface Member {
  readonly id: NodeId;
  readonly name: string;
  /** Base64. */
  readonly key: string;
  readonly ipv4: string;
  readonly ipv6: string;
  /** By its own word: its machine has no IPv6. */
  readonly ipv4Only?: true;
  /** What it may share by the hub's word; `MemberChecks.planShares` says what of it is routed. */
  readonly shares: readonly string[];
}

export interface MemberChange {
  readonly added: readonly Member[];
  /** They are called or share something else than before, or have IPv6, or not any more. */
  readonly changed: readonly Member[];
  readonly removed: readonly Member[];
}

/** What stays as it was, whatever the hub says. */
interface Pinned extends Addresses {
  readonly id: NodeId;
  readonly name: string;
  readonly key: string;
}

/** What this node knows of itself, whatever the hub says: as it was when it joined. Where it is, it hears when it is let in. */
export type Self = Omit<Pinned, keyof Addresses> & Partial<Addresses>;

/**
 * Does not believe the hub everything. It says who is a member, and what members are called: nobody else can. But it
 * cannot give a member another key or another address, or two the same name, hand out addresses from outside of the
 * network's range or our own, or have shares routed that take traffic away which is none of the network's. What is
 * refused is shown as a warning, for as long as it is so.
 */
export class MemberChecks {
  readonly #ranges: readonly [Cidr, Cidr];
  #self: Self;
  /** What the hub calls this node. */
  #calledByHub: string;
  readonly #names = new NameClaims();
  readonly #members = new Map<NodeId, Member>();
  /** Whose is a key, an address? */
  readonly #owners = new Map<string, NodeId>();
  /** What is not believed, by what it is about. */
  readonly #warnings = new Map<string, string>();
  #shareWarnings: string[] = [];

  constructor(network: NetworkInfo, self: Self) {
    this.#ranges = [parseCidr(network.ipv4)!, parseCidr(network.ipv6)!];
    this.#self = self;
    this.#calledByHub = self.name;
    this.#names.take(self.name, self.id);
    for (const own of belongings(self)) this.#owners.set(own, self.id);
  }

  get(id: NodeId): Member | undefined {
    return this.#members.get(id);
  }

  all(): IterableIterator<Member> {
    return this.#members.values();
  }

  /** What this node is called. */
  get ownName(): string {
    return this.#self.name;
  }

  /** The hub calls this node something: it is called that as soon as nobody else is. */
  callSelf(name: string): void {
    this.#calledByHub = name;
    this.#rename([]);
  }

  /**
   * The hub says where in the network this node is: that counts once, and only if it can be.
   *
   * @returns where it is, if that is known
   */
  placeSelf({ ipv4, ipv6 }: Partial<Addresses>): Addresses | undefined {
    const { ipv4: own4, ipv6: own6 } = this.#self;
    if (own4 !== undefined && own6 !== undefined) return { ipv4: own4, ipv6: own6 };
    if (ipv4 === undefined || ipv6 === undefined) return undefined;
    const addresses = { ipv4, ipv6 };
    const why = this.#addressProblem(addresses);
    if (why !== undefined) {
      this.#warnings.set('own address', `The hub gives this node an address that cannot be its own: ${why}`);
      return undefined;
    }
    this.#warnings.delete('own address');
    this.#self = { ...this.#self, ...addresses };
    for (const own of belongings(this.#self)) this.#owners.set(own, this.#self.id);
    return addresses;
  }

  /**
   * A map to be stored: what was accepted, as it was, and then the rest. Read in this order after a restart, it is
   * accepted again, and nothing that was refused comes first.
   */
  trusted(nodes: Iterable<MapNode>): MapNode[] {
    const rest = [...nodes].filter(({ id }) => !this.#members.has(id));
    return [...this.#members.values(), ...rest];
  }

  warnings(): string[] {
    return [...this.#warnings.values(), ...this.#shareWarnings];
  }

  /** Whether what the hub said of somebody is not what is believed. */
  get refuses(): boolean {
    return this.#warnings.size > 0;
  }

  /** Takes over what of a change stands the checks. */
  apply({ added, changed, removed }: MapChange): MemberChange {
    const result = { added: [] as Member[], changed: [] as Member[], removed: [] as Member[] };
    for (const { id } of removed) {
      const member = this.#forget(id);
      if (member !== undefined) result.removed.push(member);
    }
    this.#rename(changed);
    for (const node of [...added, ...changed]) {
      if (node.id === this.#self.id) this.#checkSelf(node);
      else this.#put(node, result);
    }
    return result;
  }

  /**
   * Which shares are to be routed to whom.
   *
   * @returns member's id by share
   */
  planShares(around: Omit<ShareSurroundings, 'ranges'>): Map<string, NodeId> {
    this.#shareWarnings = [];
    const plan = new Map<string, NodeId>();
    const taken: { readonly share: Cidr; readonly member: Member }[] = [];
    const sharing = [...this.#members.values()].filter(({ shares }) => shares.length > 0);
    for (const member of sharing.sort((a, b) => a.id - b.id)) {
      for (const text of member.shares) {
        const share = parseCidr(text);
        if (share === undefined) continue; // the schema has seen to that
        const other = taken.find((entry) => overlap(entry.share, share));
        const why =
          other === undefined
            ? shareCollision(share, { ...around, ranges: this.#ranges })
            : `${text} overlaps ${formatCidr(other.share)} of ${other.member.name}`;
        if (why === undefined) {
          plan.set(text, member.id);
          taken.push({ share, member });
        } else {
          this.#shareWarnings.push(`What ${member.name} shares is not used: ${why}`);
        }
      }
    }
    return plan;
  }

  #put(node: MapNode, result: { added: Member[]; changed: Member[] }): void {
    const before = this.#members.get(node.id);
    const why = before === undefined ? this.#problem(node) : this.#changeOf(before, node);
    const warning = `node ${node.id}`;
    if (why === undefined) this.#warnings.delete(warning);
    else this.#warnings.set(warning, `The hub says of ${node.name} (node ${node.id}) what cannot be: ${why}`);
    if (before === undefined && why !== undefined) return;
    const member: Member = before === undefined ? node : { ...node, ...pinned(before) };
    this.#members.set(node.id, member);
    if (before !== undefined) {
      result.changed.push(member);
      return;
    }
    this.#names.take(node.name, node.id);
    for (const own of belongings(node)) this.#owners.set(own, node.id);
    result.added.push(member);
  }

  /** An administrator may have renamed members, and this node, too. */
  #rename(nodes: readonly MapNode[]): void {
    const renamings: Renaming[] = [{ id: this.#self.id, from: this.#self.name, to: this.#calledByHub }];
    for (const { id, name } of nodes) {
      const from = this.#members.get(id)?.name;
      if (from !== undefined) renamings.push({ id, from, to: name });
    }
    const others = renamings.filter(({ from, to }) => from !== to);
    const keep = this.#names.rename(others);
    for (const { id, to } of others) {
      if (keep.has(id)) continue;
      if (id === this.#self.id) this.#self = { ...this.#self, name: to };
      else this.#members.set(id, { ...this.#members.get(id)!, name: to });
    }
    const { name } = this.#self;
    if (name === this.#calledByHub) this.#warnings.delete('own name');
    else
      this.#warnings.set(
        'own name',
        `The hub calls this node ${this.#calledByHub}, as it does another one: it is ${name} here`,
      );
  }

  /** @returns what is not as it was when it must be */
  #changeOf(before: Member, now: MapNode): string | undefined {
    if (now.key !== before.key) return 'it has another key than before, and keeps the old one here';
    if (now.ipv4 !== before.ipv4 || now.ipv6 !== before.ipv6)
      return 'it has another address than before, and keeps the old one here';
    if (now.name === before.name) return undefined;
    return `${now.name} is the name of node ${this.#names.ownerOf(now.name)}, and it is ${before.name} here`;
  }

  /** @returns why a member that is new is none */
  #problem(node: MapNode): string | undefined {
    const { id, name, key } = node;
    const why = this.#addressProblem(node);
    if (why !== undefined) return why;
    const owner = this.#owners.get(key);
    if (owner !== undefined) return `its key is ${this.#nameOf(owner)}'s`;
    const namesake = this.#names.ownerOf(name);
    if (namesake !== undefined) return `its name is that of node ${namesake}`;
    return id === 0 ? 'there is no such number' : undefined;
  }

  #addressProblem({ ipv4, ipv6 }: Addresses): string | undefined {
    for (const [what, text, range] of [
      ['IPv4', ipv4, memberRange(this.#ranges[0])],
      ['IPv6', ipv6, memberRange(this.#ranges[1])],
    ] as const) {
      const address = parseAddress(text);
      if (address === undefined || !contains(range, address))
        return `its ${what} address ${text} is not in the network's range for members ${formatCidr(range)}`;
      const owner = this.#owners.get(formatAddress(address));
      if (owner !== undefined) return `its address ${text} is ${this.#nameOf(owner)}'s`;
    }
    return undefined;
  }

  #checkSelf({ key, ipv4, ipv6 }: MapNode): void {
    const { key: ownKey, ipv4: own4, ipv6: own6 } = this.#self;
    const isRight = key === ownKey && ipv4 === own4 && ipv6 === own6;
    if (isRight) this.#warnings.delete('self');
    else
      this.#warnings.set('self', 'The hub tells the others another key or address of this node than it has');
  }

  #forget(id: NodeId): Member | undefined {
    this.#warnings.delete(`node ${id}`);
    const member = this.#members.get(id);
    if (member === undefined) return undefined;
    this.#members.delete(id);
    this.#names.release(member.name);
    for (const own of belongings(member)) this.#owners.delete(own);
    return member;
  }

  #nameOf(id: NodeId): string {
    return id === this.#self.id ? 'this node' : (this.#members.get(id)?.name ?? `node ${id}`);
  }
}

/** What stays as it was. */
const pinned = ({ id, name, key, ipv4, ipv6 }: Member): Pinned => ({ id, name, key, ipv4, ipv6 });

/** What only one can have. */
const belongings = ({ key, ipv4, ipv6 }: Self): string[] => [key, ipv4 ?? [], ipv6 ?? []].flat();

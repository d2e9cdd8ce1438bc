import { usage } from '../../errors.js';
import { formatAddress, parseAddress } from '../../ip/address.js';
import { type Cidr, contains, formatCidr, overlap, parseCidr } from '../../ip/cidr.js';
import { memberRange } from '../../protocol/layout.js';
import type { MapChange } from '../../protocol/map.js';
import type { Addresses, MapNode, NetworkInfo } from '../../protocol/messages.js';
import type { NodeId } from '../../protocol/node-id.js';
import { NameClaims, type Renaming } from './name-claims.js';
import { rangesOf, type ShareSurroundings, shareCollision } from './ranges.js';

/** A member whose map entry has passed the checks. */
export interface Member {
  readonly id: NodeId;
  readonly name: string;
  /** Base64. */
  readonly key: string;
  readonly ipv4: string;
  readonly ipv6: string;
  /** Its machine has no IPv6, as it says itself. */
  readonly ipv4Only?: true;
  /** The shares that the hub approved. `MemberChecks.planShares` returns those to route. */
  readonly shares: readonly string[];
}

export interface MemberChange {
  readonly added: readonly Member[];
  /** Their names, shares or IPv6 have changed. */
  readonly changed: readonly Member[];
  readonly removed: readonly Member[];
}

/** What the hub cannot change. */
interface Pinned extends Addresses {
  readonly id: NodeId;
  readonly name: string;
  readonly key: string;
}

/** This node as it joined. A pending node has no addresses. */
export type Self = Omit<Pinned, keyof Addresses> & Partial<Addresses>;

/**
 * Checks what the hub says of members. The hub decides who is a member, and what each member is called. It cannot
 * - give a present member another key or address, or two members the same key, address or name,
 * - assign addresses outside the members' range, or those of this node,
 * - have shares routed that would capture other traffic.
 * Each refusal is a warning for as long as it lasts.
 */
export class MemberChecks {
  readonly #ranges: readonly [Cidr, Cidr];
  /** The part of each range that member addresses come from. */
  readonly #memberRanges: readonly [Cidr, Cidr];
  #self: Self;
  /** The name that the hub gives this node. */
  #calledByHub: string;
  readonly #names = new NameClaims();
  readonly #members = new Map<NodeId, Member>();
  /** The owner of each key and address. */
  readonly #owners = new Map<string, NodeId>();
  /** Refusals, by subject. */
  readonly #warnings = new Map<string, string>();
  #shareWarnings: string[] = [];

  constructor(network: NetworkInfo, self: Self) {
    this.#ranges = rangesOf(network);
    this.#memberRanges = [memberRange(this.#ranges[0]), memberRange(this.#ranges[1])];
    this.#self = self;
    this.#calledByHub = self.name;
    this.#names.take(self.name, self.id);
    for (const own of belongings(self)) this.#owners.set(own, self.id);
  }

  get(id: NodeId): Member | undefined {
    return this.#members.get(id);
  }

  /**
   * Finds a member by its name, short or full, its id or its member address.
   *
   * @param network the network's name
   * @throws LametunError `usage`
   */
  find(text: string, network: string): Member {
    const wanted = text.toLowerCase().replace(`.${network}.lametun`, '');
    const address = parseAddress(wanted);
    const canonical = address === undefined ? wanted : formatAddress(address);
    const isMeant = ({ id, name, ipv4, ipv6 }: Self): boolean =>
      [name, ipv4, ipv6, String(id)].includes(canonical);
    for (const member of this.#members.values()) if (isMeant(member)) return member;
    if (isMeant(this.#self)) throw usage(`${text} is this node itself`);
    throw usage(`no node ${text}: \`lametun status\` lists them`);
  }

  all(): IterableIterator<Member> {
    return this.#members.values();
  }

  /** The name of this node. */
  get ownName(): string {
    return this.#self.name;
  }

  /** The hub gives this node a name: takes it, once no other member has it. */
  callSelf(name: string): void {
    this.#calledByHub = name;
    this.#rename([]);
  }

  /**
   * The hub gives this node addresses: accepts them once, if they are valid.
   *
   * @returns the addresses of this node, if it has any
   */
  placeSelf({ ipv4, ipv6 }: Partial<Addresses>): Addresses | undefined {
    const { ipv4: own4, ipv6: own6 } = this.#self;
    if (own4 !== undefined && own6 !== undefined) return { ipv4: own4, ipv6: own6 };
    if (ipv4 === undefined || ipv6 === undefined) return undefined;
    const addresses = { ipv4, ipv6 };
    const why = this.#addressProblem(addresses);
    if (why !== undefined) {
      this.#warnings.set('own address', `The hub gives this node an invalid address: ${why}`);
      return undefined;
    }
    this.#warnings.delete('own address');
    this.#self = { ...this.#self, ...addresses };
    for (const own of belongings(this.#self)) this.#owners.set(own, this.#self.id);
    return addresses;
  }

  /**
   * The map to store: accepted members as accepted, then the rest. A restart reads them in this order, and accepts the
   * same members again.
   */
  trusted(nodes: Iterable<MapNode>): MapNode[] {
    const rest = [...nodes].filter(({ id }) => !this.#members.has(id));
    return [...this.#members.values(), ...rest];
  }

  warnings(): string[] {
    return [...this.#warnings.values(), ...this.#shareWarnings];
  }

  /** Whether anything that the hub said is refused. */
  get refuses(): boolean {
    return this.#warnings.size > 0;
  }

  /** Applies the valid part of a change. */
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
   * Chooses the shares to route.
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
        if (share === undefined) continue; // the schema excludes that
        const other = taken.find((entry) => overlap(entry.share, share));
        const why =
          other === undefined
            ? shareCollision(share, { ...around, ranges: this.#ranges })
            : `${text} overlaps ${formatCidr(other.share)} of ${other.member.name}`;
        if (why === undefined) {
          plan.set(text, member.id);
          taken.push({ share, member });
        } else {
          this.#shareWarnings.push(`A share of ${member.name} is not used: ${why}`);
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
    else
      this.#warnings.set(
        warning,
        `The hub's entry for ${node.name} (node ${node.id}) is not accepted: ${why}`,
      );
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

  /** An administrator may have renamed members and this node. */
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
        `The hub gives this node the name ${this.#calledByHub}, which another member has: it stays ${name}`,
      );
  }

  /** @returns which change is refused, if any */
  #changeOf(before: Member, now: MapNode): string | undefined {
    if (now.key !== before.key) return 'its key has changed; the old key stays in use';
    if (now.ipv4 !== before.ipv4 || now.ipv6 !== before.ipv6)
      return 'its address has changed; the old address stays in use';
    if (now.name === before.name) return undefined;
    return `node ${this.#names.ownerOf(now.name)} has the name ${now.name}, so it stays ${before.name}`;
  }

  /** @returns why a new member is refused, if it is */
  #problem(node: MapNode): string | undefined {
    const { id, name, key } = node;
    const why = this.#addressProblem(node);
    if (why !== undefined) return why;
    const owner = this.#owners.get(key);
    if (owner !== undefined) return `it has the key of ${this.#nameOf(owner)}`;
    const namesake = this.#names.ownerOf(name);
    if (namesake !== undefined) return `it has the name of node ${namesake}`;
    return id === 0 ? 'no member has this number' : undefined;
  }

  #addressProblem({ ipv4, ipv6 }: Addresses): string | undefined {
    const [range4, range6] = this.#memberRanges;
    return this.#problemOf('IPv4', ipv4, range4) ?? this.#problemOf('IPv6', ipv6, range6);
  }

  #problemOf(what: string, text: string, range: Cidr): string | undefined {
    const address = parseAddress(text);
    if (address === undefined || !contains(range, address))
      return `its ${what} address ${text} is outside the members' range ${formatCidr(range)}`;
    const owner = this.#owners.get(formatAddress(address));
    return owner === undefined ? undefined : `it has the address ${text} of ${this.#nameOf(owner)}`;
  }

  #checkSelf({ key, ipv4, ipv6 }: MapNode): void {
    const { key: ownKey, ipv4: own4, ipv6: own6 } = this.#self;
    const isRight = key === ownKey && ipv4 === own4 && ipv6 === own6;
    if (isRight) this.#warnings.delete('self');
    else this.#warnings.set('self', 'The hub gives other members a wrong key or address of this node');
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

/** What the hub cannot change. */
const pinned = ({ id, name, key, ipv4, ipv6 }: Member): Pinned => ({ id, name, key, ipv4, ipv6 });

/** What only one member can have. */
const belongings = ({ key, ipv4, ipv6 }: Self): string[] => [key, ipv4 ?? [], ipv6 ?? []].flat();

import { LametunError } from '../../errors.js';
import type { Log } from '../../log.js';
import type {
  AdminAnswer,
  AdminRequest,
  Answers,
  HubMessage,
  Incarnation,
  NodeMessage,
  RelayCredentials,
} from '../../protocol/messages.js';
import type { NodeId } from '../../protocol/node-id.js';
import { decodeBase64, encodeBase64, TWIN_ADVICE } from '../../protocol/text.js';
import type { HubAddress } from '../../protocol/token.js';
import { openInvite } from '../membership/invites.js';
import { loadMembers, type Member, membership } from '../membership/members.js';
import { join, remove, setInside, share } from '../membership/nodes.js';
import { Refused } from '../membership/refused.js';
import type { Registry } from '../membership/registry.js';
import { StoreUnavailable } from '../membership/tables.js';
import { Administration, type AdministrationOptions } from './administration.js';
import { Fanout, type Follower } from './fanout.js';
import { GuestLimit, type GuestRates } from './limits.js';
import { Presence } from './presence.js';
import type { Scheduler } from './scheduler.js';
import { Twins } from './twins.js';

/** A client with an open channel: it has the private half of `key`. */
export interface Client extends Follower {
  /** Base64. */
  readonly key: string;
  /** The address that it connects from, for rate limits. */
  readonly remote: string;
  send(message: HubMessage): void;
  sendFrame(from: NodeId, datagram: Uint8Array): void;
  /** Tells the session that its client is a member or pending, and may stay. */
  admit(): void;
  /** Closes once everything is sent. */
  close(): void;
  /** Whether the session is over: `Hub.closed` was called, or is about to be. */
  readonly ended: boolean;
}

/** The hub's relay, as the machine uses it. */
export interface RelayPort {
  attach(node: NodeId): RelayCredentials;
  detach(node: NodeId): void;
  /** A datagram that came through a member's channel. */
  fromChannel(from: NodeId, to: NodeId, datagram: Uint8Array): void;
}

export interface HubOptions extends Omit<AdministrationOptions, 'isOnline' | 'awayFor' | 'twins' | 'isHost'> {
  readonly relay: RelayPort;
  /** Where this hub can be reached now. */
  readonly addresses: () => readonly HubAddress[];
  readonly log: Log;
  readonly scheduler: Scheduler;
  /** Default: that of `GuestLimit`. */
  readonly guests?: GuestRates | undefined;
}

/** Requests that need no database, whoever sends them. */
const FROM_MEMORY: ReadonlySet<NodeMessage['type']> = new Set(['who', 'admin']);

interface Attachment {
  readonly client: Client;
  readonly pending: boolean;
  readonly name: string;
}

/** A pending node, or a member with pending shares. */
export interface Waiting {
  readonly name: string;
  readonly shares?: readonly string[];
}

/** Handles the messages of all clients. It has no sockets: it is given sessions and the relay. */
export class Hub {
  readonly #options: HubOptions;
  readonly #registry: Registry;
  readonly #fanout: Fanout;
  readonly #presence: Presence;
  readonly #administration: Administration;
  readonly #attached = new Map<NodeId, Attachment>();
  readonly #ids = new Map<Client, NodeId>();
  /** Keys that are being looked up. `isOld`: a change since then makes the answer stale. */
  readonly #lookups = new Set<{ readonly key: string; isOld: boolean }>();
  /** Nodes that are being removed at their own request. */
  readonly #leaving = new Set<NodeId>();
  readonly #guests: GuestLimit;
  readonly #twins = new Twins();
  #addresses: readonly HubAddress[] = [];
  /** The key of the node on this machine, if any. Removing that node takes `force`. */
  hostKey: string | undefined;

  constructor(options: HubOptions) {
    this.#options = options;
    this.#registry = options.registry;
    const { registry, scheduler, guests } = options;
    this.#guests = new GuestLimit(guests);
    this.#fanout = new Fanout(registry.members, scheduler);
    this.#presence = new Presence(registry.members.ids(), scheduler);
    this.#administration = new Administration({
      ...options,
      isOnline: (id) => this.#attached.has(id),
      awayFor: (id) => this.#presence.awayFor(id),
      twins: (id) => this.#twins.of(id, scheduler.now()),
      isHost: (key) => key === this.hostKey,
    });
    registry.onChange = (changed) => this.#changed(changed);
  }

  get online(): number {
    return this.#attached.size;
  }

  /** Answers one message. It never throws: errors go to the client. Call it for one message of a client at a time. */
  async handle(client: Client, message: NodeMessage): Promise<void> {
    const re = message.id;
    try {
      // Nothing is awaited between an attachment and its answer: no later message may overtake the answer.
      const value = message.type === 'attach' ? this.#attachKnown(client, message) : undefined;
      if (value !== undefined) return;
      if (!this.#mayAsk(client, message)) {
        client.send({ type: 'refused', re, code: 'too-many', message: TOO_MANY });
        client.close();
      } else await this.#dispatch(client, message);
    } catch (error) {
      client.send({ type: 'refused', re, ...this.#refusal(error) });
    }
  }

  /** Only guests are limited here: their requests need the database. */
  #mayAsk(client: Client, { type }: NodeMessage): boolean {
    if (FROM_MEMORY.has(type) || this.#registry.members.byKey(client.key) !== undefined) return true;
    return this.#guests.take(client.remote, this.#options.scheduler.now());
  }

  /** Tells members the hub's addresses if these have changed. Call it at the start, and every few seconds. */
  tellAddresses(): void {
    const addresses = this.#options.addresses();
    if (addresses.length === 0 || JSON.stringify(addresses) === JSON.stringify(this.#addresses)) return;
    this.#addresses = addresses;
    for (const { client } of this.#attached.values()) client.send({ type: 'addresses', addresses });
  }

  /** A client's session is over. */
  closed(client: Client): void {
    const id = this.#ids.get(client);
    this.#ids.delete(client);
    if (id !== undefined && this.#attached.get(id)?.client === client) this.#detach(id, client, false);
  }

  /** Pending nodes that are connected, and members with pending shares. */
  waiting(): Waiting[] {
    const nodes = [...this.#attached.values()].filter(({ pending }) => pending).map(({ name }) => ({ name }));
    const { members } = this.#registry;
    const sharing = Array.from(members.ids(), (id) => members.byId(id)!).flatMap(({ row, offered }) => {
      const shares = offered.filter(({ state }) => state === 'pending').map(({ network }) => network);
      return shares.length === 0 ? [] : { name: row.name, shares };
    });
    return [...nodes, ...sharing];
  }

  /** Relays a frame from a client. Only members may send frames. */
  frame(client: Client, to: NodeId, datagram: Uint8Array): void {
    const id = this.#ids.get(client);
    if (id === undefined || this.#attached.get(id)?.pending !== false) return;
    this.#options.relay.fromChannel(id, to, datagram);
  }

  /** Delivers a relay frame to a member that the relay cannot reach by UDP. */
  deliver(to: NodeId, from: NodeId, datagram: Uint8Array): void {
    this.#attached.get(to)?.client.sendFrame(from, datagram);
  }

  async #dispatch(client: Client, message: NodeMessage): Promise<void> {
    const answer = <T extends keyof Answers>(_: T, value: Answers[T]): void =>
      client.send({ type: 'answer', re: message.id, value });
    switch (message.type) {
      case 'check-invitation':
        // A node that was killed before it stored its membership joins again by the same invitation.
        if ((await this.#member(client.key)) !== undefined)
          return answer('check-invitation', { network: this.#registry.info });
        await this.#registry.store.read((tables) =>
          openInvite(tables, this.#hash(message.secret), this.#options.clock()),
        );
        return answer('check-invitation', { network: this.#registry.info });
      case 'join': {
        const secretHash = this.#hash(message.secret);
        const id = await this.#registry.change((change) =>
          join(change, { ...message, key: client.key, secretHash }),
        );
        const member = await this.#member(client.key);
        if (member === undefined) throw notAMember(); // removed at the same moment
        this.#options.log.verbose(`Node ${id}, ${member.row.name}, joined`);
        return answer('join', { network: this.#registry.info, you: membership(member) });
      }
      case 'attach':
        return this.#attachUnknown(client, message);
      case 'share': {
        const { row } = await this.#required(client);
        await this.#registry.change((change) => share(change, row.id, message.shares));
        return answer('share', { shares: (await this.#required(client)).offered });
      }
      case 'host-info': {
        const { row } = await this.#required(client);
        await this.#registry.change((change) => setInside(change, row.id, message.ipv6));
        return answer('host-info', {});
      }
      case 'leave': {
        const { row } = await this.#required(client);
        this.#leaving.add(row.id);
        try {
          await this.#registry.change((change) => remove(change, row.id));
        } finally {
          this.#leaving.delete(row.id);
        }
        answer('leave', {});
        return client.close();
      }
      case 'who':
        if (this.#registry.members.byKey(client.key) === undefined) throw notAMember();
        return answer('who', { online: this.#online() });
      case 'admin':
        if (this.#registry.members.byKey(client.key)?.row.admin !== 1) {
          throw new Refused('not-an-admin', this.#whyNotAdmin(client));
        }
        return answer('admin', await this.administer(message.request));
    }
  }

  #whyNotAdmin(client: Client): string {
    const id = this.#ids.get(client);
    const isPending = id !== undefined && this.#attached.get(id)?.pending === true;
    return isPending
      ? 'this node is pending approval and cannot administer until it is approved'
      : 'this node is not an administrator of the network';
  }

  /** Handles an administrator's request. The caller checks that it comes from one. @throws Refused, StoreUnavailable */
  administer(request: AdminRequest): Promise<AdminAnswer> {
    return this.#administration.handle(request);
  }

  /** Attaches a member that is in memory. @returns true if the request is answered */
  #attachKnown(client: Client, message: Extract<NodeMessage, { type: 'attach' }>): true | undefined {
    if (message.network !== this.#registry.info.id) throw otherNetwork();
    const member = this.#registry.members.byKey(client.key);
    if (member === undefined) return undefined;
    this.#attach(client, member, message);
    return true;
  }

  /** Attaches a pending node, or says why not. */
  async #attachUnknown(client: Client, message: Extract<NodeMessage, { type: 'attach' }>): Promise<void> {
    const member = await this.#member(client.key);
    if (member === undefined) {
      if (!(await this.#registry.store.read((tables) => tables.wasRemoved(client.key)))) throw notAMember();
      client.send({ type: 'removed', network: this.#registry.info.id });
      return client.close();
    }
    if (!client.ended) this.#attach(client, member, message); // an ended client would stay attached for ever
  }

  /** @throws Refused when another machine is connected with the same key */
  #attach(
    client: Client,
    member: Member,
    { id: re, have, as }: Extract<NodeMessage, { type: 'attach' }>,
  ): void {
    const { id, state } = member.row;
    const { members, info } = this.#registry;
    const pending = state === 'pending';
    const before = this.#attached.get(id);
    if (before?.client !== client) this.#arrive(client, member, as, before?.client);
    if (before !== undefined) this.#detach(id, before.client, before.client !== client);
    // The relay does not know pending nodes: they get random credentials that open nothing.
    const relay = pending ? this.#noRelay() : this.#options.relay.attach(id);
    this.#attached.set(id, { client, pending, name: member.row.name });
    this.#ids.set(client, id);
    client.admit();
    const value = { network: info, you: membership(member), relay, addresses: this.#addresses };
    client.send({ type: 'answer', re, value });
    if (pending) return;
    this.#fanout.add(client, members.canFollow(have) ? have.revision : undefined);
    this.#presence.arrive(id, client);
  }

  #arrive(client: Client, { row }: Member, as: Incarnation, holder: Client | undefined): void {
    const now = this.#options.scheduler.now();
    const { remote: address } = client;
    const wasTwin = this.#twins.of(row.id, now) !== undefined;
    const first = this.#twins.arrive(row.id, { ...as, address }, holder !== undefined, now);
    const twins = this.#twins.of(row.id, now);
    if (twins !== undefined && !wasTwin)
      this.#options.log.error(
        `Two machines, ${twins.join(' and ')}, use the key of ${row.name}: one has a copied state directory`,
      );
    if (first === undefined) return;
    holder?.send({ type: 'twin', address });
    throw new Refused('twin', `another machine, ${first}, is connected with this node's key: ${TWIN_ADVICE}`);
  }

  #noRelay(): RelayCredentials {
    const text = (bytes: number): string => encodeBase64(this.#options.random(bytes));
    return { port: 1, session: text(8), key: text(32) };
  }

  #detach(id: NodeId, client: Client, close: boolean): void {
    this.#attached.delete(id);
    this.#ids.delete(client);
    this.#fanout.delete(client);
    this.#presence.leave(id, client);
    this.#options.relay.detach(id);
    if (close) client.close();
  }

  /** After every change: tells the nodes that it concerns, and then everyone. */
  #changed(changed: readonly Member[]): void {
    for (const member of changed) {
      const { id, key, state } = member.row;
      for (const lookup of this.#lookups) if (lookup.key === key) lookup.isOld = true;
      const attachment = this.#attached.get(id);
      if (state === 'removed') {
        this.#twins.delete(id);
        this.#presence.forget(id);
      }
      if (attachment === undefined) continue;
      const { client, pending } = attachment;
      if (state === 'removed') {
        const leaves = this.#leaving.has(id);
        if (!leaves) client.send({ type: 'removed', network: this.#registry.info.id });
        this.#detach(id, client, !leaves); // a node that leaves gets its answer first
        continue;
      }
      client.send({ type: 'you', you: membership(member) });
      this.#attached.set(id, { client, pending: state === 'pending', name: member.row.name });
      if (pending && state === 'active') {
        this.#options.relay.attach(id);
        this.#fanout.add(client);
        this.#presence.arrive(id, client);
      }
    }
    this.#fanout.changed();
  }

  #hash(secret: string): string {
    return this.#options.hash(decodeBase64(secret));
  }

  /** The member or pending node with that key, as it is when this returns. */
  async #member(key: string): Promise<Member | undefined> {
    for (;;) {
      const known = this.#registry.members.byKey(key);
      if (known !== undefined) return known;
      const lookup = { key, isOld: false };
      this.#lookups.add(lookup);
      try {
        const [member] = await this.#registry.store.read((tables) => loadMembers(tables, { key }));
        if (!lookup.isOld) return member;
      } finally {
        this.#lookups.delete(lookup);
      }
    }
  }

  async #required(client: Client): Promise<Member> {
    const member = await this.#member(client.key);
    if (member === undefined) throw notAMember();
    return member;
  }

  #online(): NodeId[] {
    return [...this.#attached].filter(([, { pending }]) => !pending).map(([id]) => id);
  }

  #refusal(error: unknown): Pick<Extract<HubMessage, { type: 'refused' }>, 'code' | 'message'> {
    if (error instanceof Refused) return { code: error.refusal, message: error.message };
    if (error instanceof StoreUnavailable)
      return { code: 'unavailable', message: `${error.message}: try again` };
    this.#options.log.error(`A request failed: ${(error as Error).stack}`);
    if (error instanceof LametunError) return { code: 'bad-request', message: error.message };
    return { code: 'unavailable', message: 'the hub failed to handle the request: see its log' };
  }
}

const notAMember = (): Refused =>
  new Refused(
    'not-a-member',
    'the hub does not know this node: it was removed long ago, or joined after the backup that the hub restored; run `lametun leave`, then join again',
  );
const otherNetwork = (): Refused =>
  new Refused('other-network', 'this hub serves another network than the one that this node joined');
const TOO_MANY = 'too many requests from non-members: try again in a minute';

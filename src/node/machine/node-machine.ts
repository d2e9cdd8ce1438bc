import { formatAddress, type IpAddress, parseAddress } from '../../ip/address.js';
import { type Cidr, parseCidr } from '../../ip/cidr.js';
import type { NetworkMap } from '../../protocol/map.js';
import type { AdminRequest, Answers, Membership } from '../../protocol/messages.js';
import type { NodeId } from '../../protocol/node-id.js';
import { encodeBase64 } from '../../protocol/text.js';
import type { HubAddress } from '../../protocol/token.js';
import type { WallClock } from '../../wall-clock.js';
import type { Transfer } from '../../wireguard/activity.js';
import { type Crypto, type PrivateKey, randomFraction } from '../../wireguard/crypto.js';
import { EventQueue } from '../../wireguard/event-queue.js';
import type { PathStatus, TrustAnswer } from '../control/control.js';
import type { NodeCommand } from './commands.js';
import { findMember } from './find-member.js';
import { type HostPlan, HostPlanner } from './host-planner.js';
import type { HubClient } from './hub/hub-client.js';
import type { HubCommand, HubEvent } from './hub/hub-events.js';
import type { HubFailure } from './hub/hub-failure.js';
import type { HubRequest } from './hub/hub-session.js';
import { byToken, type HubAddresses, reached, searched, told } from './hub-addresses.js';
import { HubView } from './hub-view.js';
import { Keeper } from './keeper.js';
import { KnownNames } from './known-names.js';
import { MemberChecks } from './members.js';
import { type NodeStatusParts, nodeStatus, pathStatus, type StatusSurroundings } from './node-status.js';
import { OwnRecord } from './own-record.js';
import type { LocalAddress } from './paths/candidates.js';
import { greetings } from './paths/greetings.js';
import type { ProbeSource } from './paths/path-events.js';
import { Presence } from './presence.js';
import type { Routing } from './ranges.js';
import { Roster } from './roster.js';
import { SideChannel } from './side-channel.js';
import { parseEndpoint, type StoredNode, type StoredState } from './stored.js';
import { Traffic } from './traffic.js';
import { untold } from './untold.js';

export interface NodeMachineOptions {
  readonly crypto: Crypto;
  readonly privateKey: PrivateKey;
  /** The client of this node's hub. It may have begun already; its commands are this machine's from now on. */
  readonly client: HubClient;
  /** The client's. */
  readonly map: NetworkMap;
  /** What was kept; the map is in `map`. */
  readonly stored: Pick<StoredState, 'node'> & Partial<Pick<StoredState, 'endpoints' | 'names' | 'recent'>>;
  readonly clock: WallClock;
}

/**
 * A member of a network: its session with the hub, what it believes of the hub, the members, the paths to them, and what
 * it wants of its machine. Sans-I/O: `shell/` has the sockets, files and devices.
 *
 * Contract. Call `start` once. After every call take all of `poll()` and carry it out, and call `handleTimeout` when
 * `nextTimeout()` comes. `now` is in milliseconds, of a clock that counts time asleep and never goes back. What happens to
 * WebSockets is told to the client directly.
 */
export class NodeMachine {
  /** The network's own. */
  readonly ranges: readonly [Cidr, Cidr];
  /** This node's public key, base64. */
  readonly key: string;
  readonly #client: HubClient;
  readonly #clock: WallClock;
  readonly #map: NetworkMap;
  readonly #stored: NodeMachineOptions['stored'];
  readonly #crypto: Crypto;
  readonly #commands = new EventQueue<NodeCommand>();
  readonly #record: OwnRecord;
  readonly #hub: HubView;
  readonly #checks: MemberChecks;
  readonly #known: KnownNames;
  readonly #presence = new Presence();
  readonly #traffic = new Traffic();
  readonly #side: SideChannel;
  readonly #roster: Roster;
  readonly #planner: HostPlanner;
  readonly #keeper: Keeper;
  #nextToken = 1;
  #now: number;
  #isIntroduced = false;
  #isLeaving = false;
  #isOver = false;

  constructor({ crypto, privateKey, client, map, stored, clock }: NodeMachineOptions, now: number) {
    const { network, you, port } = stored.node;
    const push = (command: NodeCommand): void => this.#commands.push(command);
    this.ranges = [parseCidr(network.ipv4)!, parseCidr(network.ipv6)!];
    this.key = encodeBase64(privateKey.publicKey.bytes);
    this.#client = client;
    this.#clock = clock;
    this.#map = map;
    this.#stored = stored;
    this.#crypto = crypto;
    this.#now = now;
    this.#record = new OwnRecord(stored.node, (node) => this.#recordChanged(node));
    this.#hub = new HubView(network, now);
    this.#checks = new MemberChecks(network, { ...you, key: this.key });
    this.#known = new KnownNames(stored.names);
    const own = { crypto, privateKey, id: you.id, ranges: this.ranges, mtu: network.mtu, port, push };
    const onDirect = (): void => this.#keeper.pathsChanged(this.#now);
    const onRelayLost = (): void => this.#relayLost();
    this.#side = new SideChannel({ ...own, onDirect, onRelayLost }, now);
    const parts = { checks: this.#checks, known: this.#known, push };
    this.#roster = new Roster({ ...parts, side: this.#side, traffic: this.#traffic });
    this.#planner = new HostPlanner(this.#checks, this.ranges);
    this.#keeper = new Keeper({ ...parts, map, paths: this.#side.paths });
  }

  /** Takes up what was known when the node was up last. @param early what the client has told already */
  start(now: number, early: readonly HubEvent[] = []): void {
    this.#now = now;
    const { endpoints = [], recent } = this.#stored;
    const last = new Map(endpoints.map(({ node, at }) => [node, parseEndpoint(at)]));
    this.#side.greet(greetings(recent, this.#wallNow(), () => randomFraction(this.#crypto)));
    const change = { added: [...this.#map.nodes()], changed: [], removed: [] };
    this.#roster.apply(change, now, this.#wallNow(), (id) => last.get(id));
    this.#record.setName(this.#checks.ownName);
    this.#roster.nameAll(this.node.you);
    this.#replan();
    for (const event of early) this.#handleHub(event);
  }

  poll(): NodeCommand | undefined {
    if (!this.#isOver) this.#settle();
    return this.#commands.poll();
  }

  nextTimeout(): number {
    return Math.min(
      this.#client.nextTimeout(),
      this.#side.nextTimeout(),
      this.#roster.nextTimeout(),
      this.#keeper.nextTimeout(),
    );
  }

  handleTimeout(now: number): void {
    this.#now = now;
    this.#client.handleTimeout(now);
    this.#side.handleTimeout(now);
    if (now >= this.#roster.nextTimeout()) this.#roster.nameAll(this.node.you);
    this.#keeper.handleTimeout(now);
  }

  // What happens.

  /** Something came on the side channel, from anyone. */
  handleSideChannel(bytes: Uint8Array, from: ProbeSource, now: number): void {
    this.#now = now;
    this.#side.handleDatagram(bytes, from, now);
  }

  /** To be told every `TRAFFIC_INTERVAL`. @param counted by member's id, since the interface was made */
  handleTraffic(counted: Iterable<readonly [id: NodeId, transfer: Transfer]>, now: number): void {
    this.#now = now;
    const isSilent = this.#side.handleActivity(this.#traffic.active(counted, now), now);
    this.#keeper.trafficSeen(now, this.#wallNow());
    if (isSilent && this.#side.relay.status.via === 'websocket') this.#client.probe(now);
  }

  /** @param hasMoved whether this machine may be in another network, or has slept */
  handleAddresses(addresses: readonly LocalAddress[], hasMoved: boolean, now: number): void {
    this.#now = now;
    this.#side.setAddresses(addresses, hasMoved, now);
    if (!hasMoved) return;
    const own = new Set(addresses.map(({ address }) => formatAddress(address)));
    this.#client.networkChanged((address) => own.has(formatAddress(address)), now);
    this.#replan();
  }

  /** @param routing without the interface's own routes @param nameServers of this machine */
  handleRouting(routing: Routing, nameServers: readonly IpAddress[], now: number): void {
    this.#now = now;
    this.#planner.setRouting(routing, nameServers);
    this.#replan();
  }

  /** Whether the interface can have an IPv6 address. */
  handleIpv6(hasIpv6: boolean, now: number): void {
    this.#now = now;
    if (hasIpv6 === this.#planner.hasIpv6) return;
    this.#planner.hasIpv6 = hasIpv6;
    this.#replan();
    if (this.#client.state.kind === 'connected') this.#retell();
  }

  /** Something could not be written: the next change tries again. */
  handleNotStored(file: keyof StoredState): void {
    this.#keeper.handleNotStored(file);
  }

  // What is asked of it. Each returns the token of a later command `answer`.

  /** Answers with the round-trip time in milliseconds; undefined when there was no answer in time. */
  ping(id: NodeId, now: number): number {
    this.#now = now;
    const token = this.#nextToken++;
    this.#side.paths.ping(id, token, now);
    return token;
  }

  /** Offers these shares instead of the previous ones. Answers with `OfferedShare[]`. */
  share(shares: readonly string[], now: number): number {
    return this.#ask({ type: 'share', shares }, now, (answer) => {
      this.#record.setShares(shares, answer.shares);
      return answer.shares;
    });
  }

  /** Ends the membership. A failure changes nothing, unless it says that there is no membership. */
  leave(now: number): number {
    this.#isLeaving = true;
    const failed = ({ kind, refusal }: HubFailure): void => {
      this.#isLeaving = kind === 'removed' || refusal === 'not-a-member';
    };
    return this.#ask({ type: 'leave' }, now, undefined, failed);
  }

  /** Answers with an `AdminAnswer`. */
  admin(request: AdminRequest, now: number): number {
    return this.#ask({ type: 'admin', request }, now);
  }

  /** @param answered returns the value of the command `answer` */
  #ask<R extends HubRequest>(
    request: R,
    now: number,
    answered: (answer: Answers[R['type']]) => unknown = (answer) => answer,
    failed?: (failure: HubFailure) => void,
  ): number {
    this.#now = now;
    const token = this.#nextToken++;
    this.#client.request(
      request,
      now,
      (answer) => this.#commands.push({ kind: 'answer', token, value: answered(answer) }),
      (failure) => {
        failed?.(failure);
        this.#commands.push({ kind: 'answer', token, failure });
      },
    );
    return token;
  }

  /** Looks for the hub at the addresses of a token, too. */
  readdress(addresses: readonly HubAddress[], now: number): void {
    this.#now = now;
    this.#setHub(byToken(this.node.hub, addresses), true);
  }

  /** The key that a node has now is the right one. `takeNames` then says what to store. @throws LametunError `usage` */
  trust(ref: string): TrustAnswer {
    const { name, key } = this.findMember(ref);
    return { node: name, key, changed: this.#known.trust(name) };
  }

  /** What is to be stored of names, if anything has changed. */
  takeNames(): StoredState['names'] | undefined {
    return this.#known.takeChanged();
  }

  /** Writes down what the next process is to begin with. */
  save(now: number): void {
    this.#now = now;
    this.#keeper.save();
    this.#keeper.trafficSeen(now, this.#wallNow(), true);
  }

  /** Ends the connection, and erases the keys. Questions fail. */
  close(): void {
    this.#client.close();
    for (const { id } of this.#checks.all()) this.#side.remove(id);
    this.#settle();
    this.#isOver = true;
  }

  // What it knows.

  /** This node, as it is now. */
  get node(): StoredNode {
    return this.#record.node;
  }

  /** What this node wants of its machine. */
  hostPlan(): HostPlan {
    return this.#planner.hostPlan(this.node);
  }

  /** @param ref a name, an id, or an address inside the network @throws LametunError `usage` */
  findMember(ref: string): ReturnType<typeof findMember> {
    const { network, you } = this.node;
    return findMember(ref, this.#checks.all(), network.name, you);
  }

  /** How a member is reached; one that the hub misses and that does not answer directly is offline. @param wallNow since 1970 */
  path(id: NodeId, now: number, wallNow: number): PathStatus {
    const path = this.#side.paths.status(id, now, wallNow - now);
    return pathStatus(path, this.#presence.absence(id, now), wallNow);
  }

  /** @param wallNow milliseconds since 1970 */
  status(surroundings: StatusSurroundings, now: number, wallNow: number): ReturnType<typeof nodeStatus> {
    this.#now = now;
    const names = Array.from(this.#checks.all(), ({ name }) => name);
    const parts: NodeStatusParts = {
      ...{ node: this.node, key: this.key, members: this.#checks.all() },
      ...{ hub: this.#hub.status, relay: this.#side.relay.status },
      path: (id) => this.path(id, now, wallNow),
      keyChangedAt: (name) => this.#known.changedAt(name),
      warnings: [
        ...this.#hub.warnings(now),
        ...this.#checks.warnings(),
        ...this.#known.warnings(names, this.#wallNow()),
        ...this.#planner.warnings(),
      ],
    };
    return nodeStatus(parts, surroundings, wallNow - now);
  }

  // What follows.

  #settle(): void {
    this.#now = Math.max(this.#now, this.#client.now);
    do {
      for (let output = this.#client.poll(); output; output = this.#client.poll()) this.#handleHub(output);
    } while (this.#side.settle(this.#now));
  }

  #handleHub(output: HubEvent | HubCommand): void {
    switch (output.kind) {
      case 'answered':
        output.deliver();
        return;
      case 'connected':
        this.#connected(output);
        return;
      case 'map':
        this.#mapChanged(output);
        return;
      case 'you':
        this.#setYou(output.you);
        return;
      case 'addresses':
        this.#setHub(told(this.node.hub, output.addresses));
        return;
      case 'presence':
        this.#presence.apply(output.presence, this.#now);
        return;
      case 'twin':
        this.#hub.twin(output.address, this.#now);
        return;
      case 'disconnected':
        this.#disconnected(output);
        return;
      case 'invitation':
      case 'joined':
        return; // these come before a machine like this one exists
      default:
        this.#commands.push(output);
    }
  }

  #connected(event: Extract<HubEvent, { kind: 'connected' }>): void {
    const { remote, you, relay, by, addresses } = event;
    this.#hub.connected(event, this.#now);
    this.#commands.push({ kind: 'hub', address: remote.address });
    this.#setHub(told(reached(this.node.hub, by), addresses));
    this.#setYou(you);
    if (!this.node.you.pending) this.#side.relay.attached(remote, relay, this.#now);
    this.#replan();
    this.#retell();
    if (you.pending) this.#introduce();
  }

  #disconnected(event: Extract<HubEvent, { kind: 'disconnected' }>): void {
    const { kind, message } = event.failure;
    if (kind === 'removed') {
      if (!this.#isLeaving) this.#commands.push({ kind: 'removed' });
      return;
    }
    this.#say('error', this.#hub.disconnected(event, this.#now));
    this.#presence.clear();
    this.#side.relay.detached(`the hub is away: ${message}`, this.#now);
  }

  #relayLost(): void {
    this.#client.probe(this.#now); // where UDP does not pass, TCP may not either
    this.#renewRelay();
  }

  #mapChanged({ change }: Extract<HubEvent, { kind: 'map' }>): void {
    const isOther = this.#roster.apply(change, this.#now, this.#wallNow());
    this.#record.setName(this.#checks.ownName);
    if (isOther) this.#replan();
    this.#keeper.mapChanged(this.#now);
    if (!this.#isIntroduced) this.#roster.nameAll(this.node.you);
    this.#introduce();
  }

  #introduce(): void {
    if (!this.#isIntroduced) this.#commands.push({ kind: 'introduced' });
    this.#isIntroduced = true;
  }

  #setHub(known: HubAddresses, atOnce = false): void {
    this.#record.setHub(known);
    this.#client.setAddresses(searched(known), this.#now, { atOnce });
  }

  #setYou(you: Membership): void {
    const before = this.node.you;
    this.#checks.callSelf(you.name);
    const { ipv4: _, ipv6: __, ...rest } = you;
    const addresses = this.#checks.placeSelf(you);
    const pending = you.pending || addresses === undefined;
    this.#record.setYou({ ...rest, ...addresses, name: this.#checks.ownName, pending });
    if (before.ipv4 === undefined && addresses !== undefined) this.#commands.push({ kind: 'approved' });
    if (before.pending && !pending) this.#renewRelay(); // until now its credentials opened nothing
  }

  #recordChanged(node: StoredNode): void {
    this.#commands.push({ kind: 'store', file: 'node', value: node });
    this.#replan();
    this.#roster.nameSoon(this.#now);
  }

  /** Routes what others share, and forwards what this node shares, as far as that suits this machine as it is now. */
  #replan(): void {
    const { hasOtherShares, hasOtherHost } = this.#planner.plan(this.node, this.#hubs());
    if (hasOtherShares) {
      this.#commands.push({ kind: 'shares', owners: this.#planner.owners });
      this.#side.paths.setInside(this.#planner.inside(), this.#now);
    }
    if (hasOtherHost) this.#commands.push({ kind: 'host' });
  }

  /** Where the hub was reached last, or all addresses that are known. */
  #hubs(): IpAddress[] {
    const { address } = this.#hub;
    return address === undefined
      ? searched(this.node.hub).flatMap(({ host }) => parseAddress(host) ?? [])
      : [address];
  }

  /** Tells the hub what only this node can know, where the hub says otherwise: it may come from an old backup. */
  #retell(): void {
    const { ipv6, shares } = untold(this.node, this.#planner.hasIpv6);
    const complain = (what: string) => (failure: HubFailure) =>
      this.#say('error', `The hub could not be told ${what}: ${failure.message}`);
    if (ipv6 !== undefined)
      this.#client.request(
        { type: 'host-info', ipv6 },
        this.#now,
        () => {},
        complain('whether this node has IPv6'),
      );
    if (shares !== undefined)
      this.#client.request(
        { type: 'share', shares },
        this.#now,
        (answer) => this.#record.setShares(this.node.shares, answer.shares),
        complain('what this node offers'),
      );
  }

  /** Gets other credentials for the relay: it sends through the channel until they are used. */
  #renewRelay(): void {
    this.#client.request(
      { type: 'attach' },
      this.#now,
      ({ relay, you }) => {
        const { address } = this.#hub;
        if (address !== undefined && !you.pending)
          this.#side.relay.attached({ address, port: 0 }, relay, this.#now);
      },
      // `connected` brings some.
      ({ message }) => this.#say('verbose', `No new credentials for the relay: ${message}`),
    );
  }

  #say(level: 'error' | 'verbose', message: string | undefined): void {
    if (message !== undefined) this.#commands.push({ kind: 'log', level, message });
  }

  /** Milliseconds since 1970. */
  #wallNow(): number {
    const step = this.#clock.step();
    if (step !== undefined) {
      this.#known.move(step);
      this.#clock.adopt(step);
    }
    return this.#clock.now();
  }
}

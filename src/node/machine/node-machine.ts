import { formatAddress, type IpAddress, parseAddress } from '../../ip/address.js';
import type { Cidr } from '../../ip/cidr.js';
import type { NetworkMap } from '../../protocol/map.js';
import type { AdminRequest, Answers, Membership } from '../../protocol/messages.js';
import type { NodeId } from '../../protocol/node-id.js';
import { encodeBase64 } from '../../protocol/text.js';
import type { HubAddress } from '../../protocol/token.js';
import type { WallClock } from '../../wall-clock.js';
import type { Transfer } from '../../wireguard/activity.js';
import { type Crypto, type PrivateKey, randomFraction } from '../../wireguard/crypto.js';
import { EventQueue } from '../../wireguard/event-queue.js';
import type { PathStatus } from '../control/control.js';
import type { NodeCommand } from './commands.js';
import { corrections } from './corrections.js';
import { type HostPlan, HostPlanner } from './host-planner.js';
import type { HubClient } from './hub/hub-client.js';
import type { HubCommand, HubEvent } from './hub/hub-events.js';
import type { HubFailure } from './hub/hub-failure.js';
import type { HubRequest } from './hub/hub-session.js';
import { byToken, type HubAddresses, reached, searched, told } from './hub-addresses.js';
import { HubView } from './hub-view.js';
import { Keeper } from './keeper.js';
import { KnownNames } from './known-names.js';
import { type Member, MemberChecks } from './members.js';
import { type NodeStatusParts, nodeStatus, pathStatus, type StatusSurroundings } from './node-status.js';
import { updatedRecord } from './own-record.js';
import type { LocalAddress } from './paths/candidates.js';
import { greetings } from './paths/greetings.js';
import type { ProbeSource } from './paths/path-events.js';
import { Presence } from './presence.js';
import { type Routing, rangesOf } from './ranges.js';
import { Roster } from './roster.js';
import { SideChannel } from './side-channel.js';
import { parseEndpoint, type StoredNode, type StoredState } from './stored.js';

export interface NodeMachineOptions {
  readonly crypto: Crypto;
  readonly privateKey: PrivateKey;
  /** The client of this node's hub; it may have started. This machine takes over its output. */
  readonly client: HubClient;
  /** The client's map. */
  readonly map: NetworkMap;
  /** What the previous process stored, without the map. */
  readonly stored: Pick<StoredState, 'node'> & Partial<Pick<StoredState, 'endpoints' | 'names' | 'recent'>>;
  readonly clock: WallClock;
}

/**
 * A member of a network: its session with the hub, the checks of what the hub says, the members and the paths to them,
 * and the desired state of its machine. Sans-I/O: `shell/` has the sockets, files and devices.
 *
 * Contract. Call `start` once. After every call carry out all of `poll()`, and call `handleTimeout` when `nextTimeout()`
 * comes. `now` is in milliseconds, of a clock that includes time asleep and never goes back. Events of WebSockets go to
 * the client directly.
 */
export class NodeMachine {
  /** The network's IPv4 and IPv6 range. */
  readonly ranges: readonly [Cidr, Cidr];
  readonly known: KnownNames;
  readonly keeper: Keeper;
  /** This node's public key, base64. */
  readonly #key: string;
  readonly #options: NodeMachineOptions;
  readonly #client: HubClient;
  readonly #commands = new EventQueue<NodeCommand>();
  readonly #hub: HubView;
  readonly #checks: MemberChecks;
  readonly #presence = new Presence();
  readonly #side: SideChannel;
  readonly #roster: Roster;
  readonly #planner: HostPlanner;
  #node: StoredNode;
  #nextToken = 1;
  #now: number;
  #isIntroduced = false;
  #isLeaving = false;
  #isOver = false;

  constructor(options: NodeMachineOptions, now: number) {
    const { crypto, privateKey, client, map, stored } = options;
    const { network, you, port } = stored.node;
    const push = (command: NodeCommand): void => this.#commands.push(command);
    this.ranges = rangesOf(network);
    this.#key = encodeBase64(privateKey.publicKey.bytes);
    this.#options = options;
    this.#client = client;
    this.#now = now;
    this.#node = stored.node;
    this.#hub = new HubView(network, now);
    this.#checks = new MemberChecks(network, { ...you, key: this.#key });
    this.known = new KnownNames(stored.names);
    const own = { crypto, privateKey, id: you.id, ranges: this.ranges, mtu: network.mtu, port, push };
    const onDirect = (): void => this.keeper.pathsChanged(this.#now);
    const onRelayLost = (): void => this.#relayLost();
    this.#side = new SideChannel({ ...own, onDirect, onRelayLost }, now);
    const parts = { checks: this.#checks, known: this.known, push };
    this.#roster = new Roster({ ...parts, side: this.#side });
    this.#planner = new HostPlanner(this.#checks, this.ranges);
    this.keeper = new Keeper({ ...parts, map, paths: this.#side.paths });
  }

  /** Starts with what the previous process stored. @param early the client's events so far */
  start(now: number, early: readonly HubEvent[] = []): void {
    this.#now = now;
    const { crypto, map, stored } = this.#options;
    const { endpoints = [], recent } = stored;
    const last = new Map(endpoints.map(({ node, at }) => [node, parseEndpoint(at)]));
    this.#side.greet(greetings(recent, this.#wallNow(), () => randomFraction(crypto)));
    const change = { added: [...map.nodes()], changed: [], removed: [] };
    this.#roster.apply(change, now, this.#wallNow(), (id) => last.get(id));
    this.#setName();
    this.#roster.nameAll(this.#node.you);
    this.#replan();
    for (const event of early) this.#handleHub(event);
  }

  poll(): NodeCommand | undefined {
    const command = this.#commands.poll();
    if (command !== undefined || this.#isOver) return command;
    this.#settle();
    return this.#commands.poll();
  }

  nextTimeout(): number {
    return Math.min(
      this.#client.nextTimeout(),
      this.#side.nextTimeout(),
      this.#roster.nextTimeout(),
      this.keeper.nextTimeout(),
    );
  }

  handleTimeout(now: number): void {
    this.#now = now;
    this.#client.handleTimeout(now);
    this.#side.handleTimeout(now);
    if (now >= this.#roster.nextTimeout()) this.#roster.nameAll(this.#node.you);
    this.keeper.handleTimeout(now);
  }

  // What happens.

  /** A side-channel message arrived, from anyone. */
  handleSideChannel(bytes: Uint8Array, from: ProbeSource, now: number): void {
    this.#now = now;
    this.#side.handleDatagram(bytes, from, now);
  }

  /** Call this every `TRAFFIC_INTERVAL`. @param counted by member's id, since the interface was created */
  handleTraffic(counted: Iterable<readonly [id: NodeId, transfer: Transfer]>, now: number): void {
    this.#now = now;
    const isSilent = this.#side.handleTraffic(counted, now);
    this.keeper.trafficSeen(now, this.#wallNow());
    if (isSilent && this.#side.relay.status.via === 'websocket') this.#client.probe(now);
  }

  /** @param hasMoved whether this machine may be in another network or has slept */
  handleAddresses(addresses: readonly LocalAddress[], hasMoved: boolean, now: number): void {
    this.#now = now;
    this.#side.setAddresses(addresses, hasMoved, now);
    if (!hasMoved) return;
    const own = new Set(addresses.map(({ address }) => formatAddress(address)));
    this.#client.networkChanged((address) => own.has(formatAddress(address)), now);
    this.#replan();
  }

  /** @param routing without the interface's own routes @param nameServers this machine's */
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
    if (this.#client.state.kind === 'connected') this.#correct();
  }

  // Requests. Each returns the token of a later command `answer`.

  /** The answer is the round-trip time in milliseconds; undefined after a timeout. */
  ping(id: NodeId, now: number): number {
    this.#now = now;
    const token = this.#nextToken++;
    this.#side.paths.ping(id, token, now);
    return token;
  }

  /** Offers these shares instead of the previous ones. The answer is `OfferedShare[]`. */
  share(shares: readonly string[], now: number): number {
    return this.#ask({ type: 'share', shares }, now, (answer) => {
      this.#setShares(shares, answer.shares);
      return answer.shares;
    });
  }

  /** Ends the membership. A failure changes nothing, unless the hub says that this node is not a member. */
  leave(now: number): number {
    this.#isLeaving = true;
    const failed = ({ kind, refusal }: HubFailure): void => {
      this.#isLeaving = kind === 'removed' || refusal === 'not-a-member';
    };
    return this.#ask({ type: 'leave' }, now, undefined, failed);
  }

  /** The answer is an `AdminAnswer`. */
  admin(request: AdminRequest, now: number): number {
    return this.#ask({ type: 'admin', request }, now);
  }

  /** @param answered makes the value of the command `answer` */
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

  /** Adds the addresses of a token to those of the hub. */
  readdress(addresses: readonly HubAddress[], now: number): void {
    this.#now = now;
    this.#setHub(byToken(this.#node.hub, addresses), true);
  }

  /** Stores what the next process starts with. */
  save(now: number): void {
    this.#now = now;
    this.keeper.save();
    this.keeper.trafficSeen(now, this.#wallNow(), true);
  }

  /** Ends the connection and erases the keys. Pending requests fail. */
  close(): void {
    this.#client.close();
    for (const { id } of this.#checks.all()) this.#side.remove(id);
    this.#settle();
    this.#isOver = true;
  }

  // State.

  /** This node's own record. */
  get node(): StoredNode {
    return this.#node;
  }

  /** The desired state of this machine. */
  hostPlan(): HostPlan {
    return this.#planner.hostPlan(this.#node);
  }

  /** @param ref a name, an id or a member address @throws LametunError `usage` */
  findMember(ref: string): Member {
    return this.#checks.find(ref, this.#node.network.name);
  }

  /** The path to a member. @param wallNow milliseconds since 1970 */
  path(id: NodeId, now: number, wallNow: number): PathStatus {
    const path = this.#side.paths.status(id, now, wallNow - now);
    return pathStatus(path, this.#presence.absence(id, now), wallNow);
  }

  /** @param wallNow milliseconds since 1970 */
  status(surroundings: StatusSurroundings, now: number, wallNow: number): ReturnType<typeof nodeStatus> {
    this.#now = now;
    const names = Array.from(this.#checks.all(), ({ name }) => name);
    const parts: NodeStatusParts = {
      ...{ node: this.#node, key: this.#key, members: this.#checks.all() },
      ...{ hub: this.#hub.status, relay: this.#side.relay.status },
      path: (id) => this.path(id, now, wallNow),
      keyChangedAt: (name) => this.known.changedAt(name),
      warnings: [
        ...this.#hub.warnings(now),
        ...this.#checks.warnings(),
        ...this.known.warnings(names, this.#wallNow()),
        ...this.#planner.warnings(),
      ],
    };
    return nodeStatus(parts, surroundings, wallNow - now);
  }

  // Reactions.

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
        this.#setHub(told(this.#node.hub, output.addresses));
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
        return; // only before there is a machine like this one
      default:
        this.#commands.push(output);
    }
  }

  #connected(event: Extract<HubEvent, { kind: 'connected' }>): void {
    const { remote, you, relay, by, addresses } = event;
    this.#hub.connected(event, this.#now);
    this.#commands.push({ kind: 'hub', address: remote.address });
    this.#setHub(told(reached(this.#node.hub, by), addresses));
    this.#setYou(you);
    if (!this.#node.you.pending) this.#side.relay.attached(remote, relay, this.#now);
    this.#replan();
    this.#correct();
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
    this.#client.probe(this.#now); // TCP may be blocked, too
    this.#renewRelay();
  }

  #mapChanged({ change }: Extract<HubEvent, { kind: 'map' }>): void {
    const isOther = this.#roster.apply(change, this.#now, this.#wallNow());
    this.#setName();
    if (isOther) this.#replan();
    this.keeper.mapChanged(this.#now);
    if (!this.#isIntroduced) this.#roster.nameAll(this.#node.you);
    this.#introduce();
  }

  #introduce(): void {
    if (!this.#isIntroduced) this.#commands.push({ kind: 'introduced' });
    this.#isIntroduced = true;
  }

  #setHub(known: HubAddresses, atOnce = false): void {
    this.#setNode({ hub: { key: this.#node.hub.key, ...known } });
    this.#client.setAddresses(searched(known), atOnce, this.#now);
  }

  #setYou(you: Membership): void {
    const before = this.#node.you;
    this.#checks.callSelf(you.name);
    const { ipv4: _, ipv6: __, ...rest } = you;
    const addresses = this.#checks.placeSelf(you);
    const pending = you.pending || addresses === undefined;
    const told = { ...rest, ...addresses, name: this.#checks.ownName, pending };
    this.#setNode({ you: updatedRecord(before, told) });
    if (before.ipv4 === undefined && addresses !== undefined) this.#commands.push({ kind: 'approved' });
    if (before.pending && !pending) this.#renewRelay(); // the relay refuses the old ones
  }

  #setName(): void {
    const { ownName } = this.#checks;
    this.#setNode({ you: { ...this.#node.you, name: ownName } });
  }

  /** @param offered the shares that this node offers @param answered what the hub makes of them */
  #setShares(offered: readonly string[], answered: Membership['shares']): void {
    this.#setNode({ shares: offered, you: { ...this.#node.you, shares: answered } });
  }

  #setNode(change: Partial<StoredNode>): void {
    const node = { ...this.#node, ...change };
    if (JSON.stringify(node) === JSON.stringify(this.#node)) return;
    this.#node = node;
    this.#commands.push({ kind: 'store', file: 'node', value: node });
    this.#replan();
    this.#roster.nameSoon(this.#now);
  }

  /** Plans routes to shares of other members, and the forwarding for shares of this node. */
  #replan(): void {
    const { hasOtherShares, hasOtherHost } = this.#planner.plan(this.#node, this.#hubs());
    if (hasOtherShares) {
      this.#commands.push({ kind: 'shares', owners: this.#planner.owners });
      this.#side.paths.setInside(this.#planner.inside(), this.#now);
    }
    if (hasOtherHost) this.#commands.push({ kind: 'host' });
  }

  /** The address that the hub was reached at, or all that are known. */
  #hubs(): IpAddress[] {
    const { address } = this.#hub;
    return address === undefined
      ? searched(this.#node.hub).flatMap(({ host }) => parseAddress(host) ?? [])
      : [address];
  }

  /** Corrects what the hub has wrong about this node. */
  #correct(): void {
    for (const request of corrections(this.#node, this.#planner.hasIpv6)) {
      const what = request.type === 'share' ? 'which shares this node offers' : 'whether this node has IPv6';
      this.#client.request(
        request,
        this.#now,
        (answer) => 'shares' in answer && this.#setShares(this.#node.shares, answer.shares),
        ({ message }) => this.#say('error', `Could not tell the hub ${what}: ${message}`),
      );
    }
  }

  /** Gets new relay credentials. Until they are used, the relay sends through the channel. */
  #renewRelay(): void {
    this.#client.request(
      { type: 'attach' },
      this.#now,
      ({ relay, you }) => {
        const { address } = this.#hub;
        if (address !== undefined && !you.pending)
          this.#side.relay.attached({ address, port: 0 }, relay, this.#now);
      },
      // the next event `connected` has some
      ({ message }) => this.#say('verbose', `Could not get new relay credentials: ${message}`),
    );
  }

  #say(level: 'error' | 'verbose', message: string | undefined): void {
    if (message !== undefined) this.#commands.push({ kind: 'log', level, message });
  }

  /** Milliseconds since 1970. */
  #wallNow(): number {
    const { clock } = this.#options;
    const step = clock.step();
    if (step !== undefined) {
      this.known.move(step);
      clock.adopt(step);
    }
    return clock.now();
  }
}

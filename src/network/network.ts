import type { Log } from '../device/log.js';
import type { RunningDevice } from '../device/running-device.js';
import { LametunError } from '../errors.js';
import { formatAddress, type IpAddress, parseAddress } from '../ip/address.js';
import { type Cidr, parseCidr } from '../ip/cidr.js';
import type { Endpoint } from '../linux/socket-address.js';
import type { PeerEndpoint } from '../tunnel/engine.js';
import type { NetworkMap } from '../wire/map.js';
import type { AdminAnswer, AdminRequest, Membership, OfferedShare } from '../wire/messages.js';
import { MAGIC } from '../wire/relay.js';
import type { Crypto, PrivateKey } from '../wireguard/crypto.js';
import { ownCandidates } from './candidates.js';
import type { HubStatus, NodeStatus, PingAnswer } from './control.js';
import { findMember } from './find-member.js';
import type { HubClient, HubEvent } from './hub-client.js';
import { HubFailure } from './hub-failure.js';
import { nameServers } from './join-checks.js';
import { Keeper } from './keeper.js';
import { localAddresses } from './local-addresses.js';
import { LocalNames } from './local-names.js';
import { MemberChecks } from './members.js';
import type { NodeEnd, RunningNode } from './node.js';
import { nodeStatus } from './node-status.js';
import { PathDriver } from './path-driver.js';
import { PeerTable } from './peer-table.js';
import { localRoutes, parseShare } from './ranges.js';
import { RelayClient } from './relay-client.js';
import { Shares } from './shares.js';
import { parseEndpoint, type StateDirectory, type StoredNode } from './state.js';

export interface NetworkOptions {
  readonly state: StateDirectory;
  readonly log: Log;
  readonly names: boolean;
  readonly crypto: Crypto;
  /** Destroyed at the end, as the device and the client are closed then. */
  readonly privateKey: PrivateKey;
  readonly device: RunningDevice;
  readonly client: HubClient;
  /** The client's. */
  readonly map: NetworkMap;
  readonly node: StoredNode;
  readonly warnings: readonly string[];
}

/** How often is looked who has traffic; milliseconds. */
const ACTIVITY_INTERVAL = 250;
/** How often is looked whether this machine has other addresses. */
const ADDRESS_INTERVAL = 2_000;
/** How long changes of names are collected. */
const NAMES_DELAY = 20;

/** A node that is up: what the hub says becomes peers, routes and names; what peers say becomes paths. */
export class Network implements RunningNode {
  readonly ended: Promise<NodeEnd>;
  /** The hub has said who is in the network, and they are found by name; or that nobody is told yet. */
  readonly introduced: Promise<void>;
  readonly #options: NetworkOptions;
  readonly #device: RunningDevice;
  readonly #client: HubClient;
  readonly #map: NetworkMap;
  readonly #checks: MemberChecks;
  readonly #table: PeerTable;
  readonly #driver: PathDriver;
  readonly #ranges: readonly Cidr[];
  readonly #shares: Shares;
  readonly #keeper: Keeper;
  #relay!: RelayClient;
  #names: LocalNames | undefined;
  #node: StoredNode;
  #hub: HubStatus = { state: 'connecting', since: Date.now() };
  #hubAddress: IpAddress | undefined;
  #seen: Endpoint | undefined;
  #addresses = '';
  #hubWarning: string | undefined;
  readonly #setupWarnings: string[];
  readonly #timers: NodeJS.Timeout[] = [];
  #namesTimer: NodeJS.Timeout | undefined;
  #isLeaving = false;
  #ending: Promise<void> | undefined;
  #end!: (end: NodeEnd) => void;
  #introduce!: () => void;
  #isIntroduced = false;

  private constructor(options: NetworkOptions) {
    const { crypto, privateKey, device, node } = options;
    this.#options = options;
    this.#device = device;
    this.#client = options.client;
    this.#map = options.map;
    this.#node = node;
    this.#setupWarnings = [...options.warnings];
    const { network, you } = node;
    this.#ranges = [parseCidr(network.ipv4)!, parseCidr(network.ipv6)!];
    this.#checks = new MemberChecks(network, { ...you, key: this.#key });
    this.#table = new PeerTable(device.interface, device.link);
    this.#driver = new PathDriver({
      ...{ crypto, privateKey, id: you.id, inside: this.#ranges, mtu: network.mtu },
      ...{ wireguard: device.interface, table: this.#table, relay: () => this.#relay?.relay },
      onDirect: () => this.#keeper.pathsChanged(),
    });
    this.#shares = new Shares(node.device, this.#checks, this.#table);
    const { state, log } = options;
    this.#keeper = new Keeper({
      state,
      log,
      map: this.#map,
      checks: this.#checks,
      paths: this.#driver.paths,
    });
    this.ended = new Promise((resolve) => {
      this.#end = resolve;
    });
    this.introduced = new Promise((resolve) => {
      this.#introduce = resolve;
    });
  }

  static async start(options: NetworkOptions): Promise<Network> {
    const network = new Network(options);
    try {
      await network.#start();
      return network;
    } catch (error) {
      await network.#undo();
      throw error;
    }
  }

  // What is asked of a node.

  status(): NodeStatus {
    return nodeStatus({
      ...{ node: this.#node, key: this.#key, hub: this.#hub, relay: this.#relay.status },
      ...{ members: this.#checks.all(), driver: this.#driver, table: this.#table, names: this.#names },
      warnings: [
        ...this.#setupWarnings,
        ...(this.#hubWarning === undefined ? [] : [this.#hubWarning]),
        ...this.#checks.warnings(),
        ...this.#table.warnings(),
        ...this.#shares.warnings(),
      ],
    });
  }

  async ping(node: string, sequence = 1): Promise<PingAnswer> {
    const { network, you } = this.#node;
    const { id, name, ipv4 } = findMember(node, this.#checks.all(), network.name, you);
    const rttMs = await this.#driver.ping(id);
    const path = this.#driver.status(id) ?? { kind: 'none', why: 'it was removed', since: Date.now() };
    return { node: name, address: ipv4, sequence, rttMs, path };
  }

  async share(shares?: readonly string[]): Promise<readonly OfferedShare[]> {
    if (shares === undefined) return this.#node.you.shares;
    const routes = localRoutes(this.#node.device);
    for (const share of shares) parseShare(share, routes, this.#ranges);
    const answer = await this.#client.request('share', { shares });
    this.#setNode({ ...this.#node, shares, you: { ...this.#node.you, shares: answer.shares } });
    return answer.shares;
  }

  async leave(force = false): Promise<{ readonly told: boolean }> {
    let told = true;
    this.#isLeaving = true;
    try {
      await this.#client.request('leave', {});
    } catch (error) {
      told = error instanceof HubFailure && error.kind === 'removed'; // it says it so
      if (!told) this.#isLeaving = false;
      if (!told && !force)
        throw new LametunError(
          'unreachable',
          `the hub cannot be told (${(error as Error).message}): try again when it is there, or leave with --force`,
          { cause: error },
        );
    }
    await this.#finish({ reason: 'left', message: `left the network ${this.#node.network.name}` });
    return { told };
  }

  admin(request: AdminRequest): Promise<AdminAnswer> {
    return this.#client.admin(request);
  }

  close(): Promise<void> {
    return this.#finish({ reason: 'closed', message: 'told to stop' });
  }

  // What happens.

  handleHub(event: HubEvent): void {
    if (this.#ending !== undefined) return;
    switch (event.kind) {
      case 'connected':
        this.#connected(event);
        if (event.you.pending) this.#introduce();
        break;
      case 'map':
        this.#apply(event.change);
        this.#keeper.mapChanged();
        if (this.#namesTimer !== undefined && !this.#isIntroduced) this.#nameMembers();
        this.#introduce();
        this.#isIntroduced = true;
        break;
      case 'you':
        this.#setYou(event.you);
        break;
      case 'frame':
        this.#relay.handleFrame(event.peer, event.datagram);
        break;
      case 'removed':
        if (this.#isLeaving) break; // as we wanted
        void this.#finish({
          reason: 'removed',
          message: `this node was removed from the network ${this.#node.network.name}`,
        });
        break;
      case 'disconnected': {
        const { failure, retryIn } = event;
        this.#setHub({
          state: retryIn === undefined || failure.kind === 'refused' ? 'refused' : 'away',
          why: failure.message,
        });
        this.#relay.detached(`the hub is away: ${failure.message}`);
        break;
      }
    }
  }

  /** What came beside WireGuard on the device's socket. */
  handleBeside(bytes: Uint8Array, from: PeerEndpoint): void {
    if (this.#ending !== undefined) return;
    const magic = new DataView(bytes.buffer, bytes.byteOffset, bytes.length).getInt32(0, true);
    if (magic === MAGIC.control) {
      this.#relay.handleControl(bytes, from.remote);
      return;
    }
    this.#driver.handleProbe(bytes, from);
  }

  // Beginning and end.

  async #start(): Promise<void> {
    const { state, crypto, log } = this.#options;
    const { device, network, you } = this.#node;
    this.#configureLink();
    this.#forward();
    this.#relay = await RelayClient.start({
      crypto,
      port: () => this.#device.port,
      send: (bytes, to) => this.#device.interface.sendBeside(bytes, this.#device.interface.endpoint(to)),
      sendFrame: (peer, datagram) => void this.#client.sendFrame(peer, datagram),
      onRelay: (relay, why) => this.#driver.setRelay(relay, why),
      onSeen: (seen) => {
        this.#seen = seen;
        this.#setOwn();
      },
      onLost: () => void this.#renewRelay(),
      now: () => this.#now(),
    });
    const endpoints = this.#readEndpoints();
    const nodes = [...this.#map.nodes()];
    this.#apply({ added: nodes, changed: [], removed: [] }, (id) => endpoints[id]);
    this.#lookAtAddresses();
    void this.#device.ended.then((reason) => this.#deviceEnded(reason));
    this.#every(ACTIVITY_INTERVAL, () => this.#lookAtTraffic());
    this.#every(ADDRESS_INTERVAL, () => this.#lookAtAddresses());
    if (!this.#options.names) return;
    this.#names = await LocalNames.start({
      ...{ network: network.name, ranges: this.#ranges, device, stateDirectory: state.path },
      addresses: { ipv4: parseAddress(you.ipv4)!, ipv6: parseAddress(you.ipv6)! },
      log: (message) => log.error(message),
    });
    this.#nameMembers();
  }

  #configureLink(): void {
    const { link } = this.#device;
    const { you } = this.#node;
    link.addAddress({ address: parseAddress(you.ipv4)!, prefix: this.#ranges[0]!.prefix });
    link.setUp(true);
    try {
      link.addAddress({ address: parseAddress(you.ipv6)!, prefix: this.#ranges[1]!.prefix });
    } catch (error) {
      this.#setupWarnings.push(
        `There is no IPv6 inside the network here (${(error as Error).message}): others reach this node by IPv4 alone, as \`ping -4\` does`,
      );
    }
  }

  #deviceEnded(reason: 'device-gone' | Error): void {
    if (reason === 'device-gone')
      void this.#finish({ reason, message: `the device ${this.#node.device} was removed` });
    else void this.#finish({ reason: 'failed', message: reason.message });
  }

  async #finish(end: NodeEnd): Promise<void> {
    this.#ending ??= this.#finishOnce(end);
    await this.#ending;
  }

  /** Whatever cannot be undone: the node has ended, and whoever waits for that hears of it. */
  async #finishOnce(end: NodeEnd): Promise<void> {
    const isOver = end.reason === 'left' || end.reason === 'removed';
    try {
      if (!isOver) this.#keeper.save();
      await this.#undo();
      if (isOver) this.#options.state.forgetNode();
      this.#end(end);
    } catch (error) {
      this.#end({ reason: 'failed', message: `${end.message}, but: ${(error as Error).message}` });
    }
  }

  async #undo(): Promise<void> {
    for (const timer of this.#timers) clearInterval(timer);
    clearTimeout(this.#namesTimer);
    this.#keeper.stop();
    for (const part of [this.#names, this.#shares]) {
      try {
        part?.stop();
      } catch (error) {
        this.#options.log.error((error as Error).message);
      }
    }
    this.#client.close();
    this.#relay?.close();
    this.#driver.close();
    await this.#device.close();
    this.#options.privateKey.destroy();
  }

  // The hub.

  #connected(event: Extract<HubEvent, { kind: 'connected' }>): void {
    const { where, remote, network, you, relay } = event;
    this.#setHub({ state: 'connected', address: where });
    this.#hubAddress = remote.address;
    const pinned = this.#node.network;
    const isSame = network.id === pinned.id && network.ipv4 === pinned.ipv4 && network.ipv6 === pinned.ipv6;
    this.#hubWarning = isSame
      ? undefined
      : `The hub says that the network has the ranges ${network.ipv4} and ${network.ipv6} now: ignored, it had ${pinned.ipv4} and ${pinned.ipv6} when this machine joined`;
    this.#setYou(you);
    if (!you.pending) this.#relay.attached(remote, relay);
    this.#planShares();
  }

  #setHub(hub: Omit<HubStatus, 'since'>): void {
    const since = hub.state === this.#hub.state ? this.#hub.since : Date.now();
    const address = hub.address ?? this.#hub.address;
    this.#hub = { ...hub, ...(address === undefined ? {} : { address }), since };
  }

  /** The hub decides on rights and shares, and not on who we are. */
  #setYou({ admin, pending, shares }: Membership): void {
    const before = this.#node.you;
    this.#setNode({ ...this.#node, you: { ...before, admin, pending, shares } });
    if (before.pending && !pending) void this.#renewRelay(); // until now its credentials opened nothing
  }

  #setNode(node: StoredNode): void {
    const isSame = JSON.stringify(node) === JSON.stringify(this.#node);
    this.#node = node;
    if (isSame) return;
    try {
      this.#options.state.writeNode(node);
    } catch (error) {
      this.#options.log.error((error as Error).message);
    }
    this.#forward();
    this.#planShares();
  }

  /** Gets other credentials for the relay: it sends through the channel again, until they are used. */
  async #renewRelay(): Promise<void> {
    const have = this.#map.version;
    try {
      const { relay, you } = await this.#client.request('attach', have === undefined ? {} : { have });
      if (this.#ending !== undefined || this.#hubAddress === undefined || you.pending) return;
      this.#relay.attached({ address: this.#hubAddress, port: 0 }, relay);
    } catch (error) {
      this.#options.log.verbose(`No new credentials for the relay: ${(error as Error).message}`); // `connected` brings some
    }
  }

  // Members.

  #apply(
    change: Parameters<MemberChecks['apply']>[0],
    endpointOf: (id: number) => Endpoint | undefined = () => undefined,
  ): void {
    const { added, changed, removed } = this.#checks.apply(change);
    for (const { id } of removed) {
      this.#driver.remove(id);
      this.#table.remove(id);
    }
    for (const member of added) {
      try {
        this.#table.add(member);
      } catch (error) {
        this.#options.log.error(`${member.name}: ${(error as Error).message}`);
        continue;
      }
      this.#driver.add(member, endpointOf(member.id));
    }
    if (added.length + changed.length + removed.length === 0) return;
    this.#planShares();
    this.#table.commit();
    this.#setNames();
    this.#driver.settle();
  }

  #planShares(): void {
    const { hub, shares } = this.#node;
    const hubs = this.#hubAddress ?? hub.addresses.flatMap(({ host }) => parseAddress(host) ?? []);
    const upstreams = (this.#names?.upstreams() ?? []).flatMap((text) => parseAddress(text) ?? []);
    this.#shares.route(shares, hubs, [...upstreams, ...nameServers()]);
    this.#driver.setInside([...this.#ranges, ...this.#table.routed()]);
  }

  #forward(again = false): void {
    const { shares, you } = this.#node;
    this.#shares.forward(shares, you.shares, again);
  }

  /** Soon: a network that grows by thousands is not sorted anew for each. */
  #setNames(): void {
    this.#namesTimer ??= setTimeout(() => this.#nameMembers(), NAMES_DELAY);
  }

  #nameMembers(): void {
    clearTimeout(this.#namesTimer);
    this.#namesTimer = undefined;
    const { name, ipv4, ipv6 } = this.#node.you;
    this.#names?.set([{ name, ipv4, ipv6 }, ...this.#checks.all()]);
  }

  // Paths.

  #lookAtTraffic(): void {
    const { isRelayed, isSilent } = this.#driver.handleActivity(this.#table.active());
    if (isRelayed) this.#relay.handleActivity(isSilent);
  }

  #lookAtAddresses(): void {
    const found = localAddresses(this.#node.device);
    const text = found.map(({ device, address }) => `${device} ${formatAddress(address)}`).join('\n');
    if (text === this.#addresses) return;
    const isFirst = this.#addresses === '';
    this.#addresses = text;
    this.#setOwn();
    if (isFirst) return;
    this.#client.retryNow();
    this.#relay.rebind();
    this.#forward(true);
    this.#planShares();
  }

  #setOwn(): void {
    const addresses = localAddresses(this.#node.device);
    this.#driver.setOwn(ownCandidates(addresses, this.#device.port, this.#seen, this.#ranges));
  }

  // What is kept.

  #readEndpoints(): Record<string, Endpoint | undefined> {
    try {
      const stored = Object.entries(this.#options.state.readEndpoints());
      return Object.fromEntries(stored.map(([id, text]) => [id, parseEndpoint(text)]));
    } catch (error) {
      this.#setupWarnings.push(`${(error as Error).message}; it is made anew`);
      return {};
    }
  }

  get #key(): string {
    return Buffer.from(this.#options.privateKey.publicKey.bytes).toString('base64');
  }

  #now(): number {
    return this.#device.interface.now();
  }

  #every(milliseconds: number, look: () => void): void {
    this.#timers.push(setInterval(look, milliseconds));
  }
}

import type { RunningDevice } from '../../device/running-device.js';
import { LametunError } from '../../errors.js';
import { addressesEqual, type IpAddress, parseAddress } from '../../ip/address.js';
import { type Cidr, parseCidr } from '../../ip/cidr.js';
import type { Endpoint } from '../../ip/endpoint.js';
import type { Log } from '../../log.js';
import type { NetworkMap } from '../../protocol/map.js';
import type { OfferedShare } from '../../protocol/messages.js';
import { RELAY_FRAME } from '../../protocol/relay.js';
import type { Crypto, PrivateKey } from '../../wireguard/crypto.js';
import { TRANSPORT } from '../../wireguard/messages.js';
import type { PathStatus } from '../control/control.js';
import type { HubClient } from '../machine/hub/hub-client.js';
import { HubView } from '../machine/hub-view.js';
import { Keeper } from '../machine/keeper.js';
import { KnownNames } from '../machine/known-names.js';
import { MemberChecks } from '../machine/members.js';
import { OwnRecord } from '../machine/own-record.js';
import { greetings, type RecentPeers } from '../machine/paths/greetings.js';
import { PathDriver } from '../machine/paths/path-driver.js';
import { RelayClient } from '../machine/paths/relay-client.js';
import { Presence } from '../machine/presence.js';
import { retell } from '../machine/retell.js';
import { Roster } from '../machine/roster.js';
import { Whereabouts } from '../machine/whereabouts.js';
import { LocalNames } from '../names/local-names.js';
import { OwnHost } from './own-host.js';
import { PeerTable } from './peer-table.js';
import type { StateDirectory, StoredNode } from './state.js';

export interface NodePartsOptions {
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
  /** What a node that joins asked to be called. */
  readonly wished?: string | undefined;
}

/** How often is looked who has traffic; milliseconds. */
const ACTIVITY_INTERVAL = 250;

/** What a node that is up consists of, each part joined to the others. */
export class NodeParts {
  readonly record: OwnRecord;
  readonly hub: HubView;
  readonly checks: MemberChecks;
  readonly table: PeerTable;
  readonly driver: PathDriver;
  readonly host: OwnHost;
  readonly known: KnownNames;
  readonly presence = new Presence();
  readonly roster: Roster;
  readonly keeper: Keeper;
  readonly whereabouts: Whereabouts;
  /** The network's own. */
  readonly ranges: readonly [Cidr, Cidr];
  /** This node's public key, base64. */
  readonly key: string;
  /** What was wrong from the beginning, in whole sentences. */
  readonly warnings: string[];
  readonly #options: NodePartsOptions;
  #timer: NodeJS.Timeout | undefined;
  #relay: RelayClient | undefined;
  #isStopped = false;
  #hasIpv6 = true;

  constructor(options: NodePartsOptions) {
    const { state, log, crypto, privateKey, device, map, node } = options;
    const { network, you } = node;
    this.#options = options;
    this.warnings = [...options.warnings];
    this.ranges = [parseCidr(network.ipv4)!, parseCidr(network.ipv6)!];
    this.key = Buffer.from(privateKey.publicKey.bytes).toString('base64');
    this.record = new OwnRecord(node, state, log, () => {
      this.roster.forward();
      this.roster.route();
      this.roster.nameSoon();
    });
    this.known = this.#readKnown();
    this.hub = new HubView(network);
    this.checks = new MemberChecks(network, { ...you, key: this.key });
    this.host = new OwnHost({
      ...{ device: node.device, log, ranges: this.ranges, members: () => this.checks.all() },
      needed: () => this.roster.outside(),
      onRoutes: () => this.#isStopped || this.roster.route(),
    });
    this.table = new PeerTable(device.interface, this.host);
    this.driver = new PathDriver({
      ...{ crypto, privateKey, id: you.id, inside: this.ranges, mtu: network.mtu },
      ...{ wireguard: device.interface, table: this.table, relay: () => this.#relay?.relay },
      onDirect: () => this.keeper.pathsChanged(),
    });
    this.roster = new Roster({
      ...{ node: () => this.record.node, hubAddress: () => this.hub.address, ranges: this.ranges },
      ...{ checks: this.checks, table: this.table, driver: this.driver, host: this.host },
      ...{ known: this.known, log },
      onOwnName: (name) => this.record.setName(name),
    });
    this.keeper = new Keeper({
      ...{ state, log, map, checks: this.checks, known: this.known, paths: this.driver.paths },
    });
    this.whereabouts = new Whereabouts({
      ...{ device: node.device, port: () => device.port, inside: this.ranges },
      onCandidates: (candidates, isComplete) => this.driver.setOwn(candidates, isComplete),
      onMoved: (isOwn) => this.#moved(isOwn),
    });
  }

  /** There from `start` on. */
  get relay(): RelayClient {
    return this.#relay!;
  }

  /** Sets the device up, and takes up what was known when the node was up last. @throws then `stop` undoes what was done */
  async start(): Promise<void> {
    this.roster.forward(); // before the link: what a node that was killed has left is taken over
    this.#configureLink();
    this.#relay = await this.#startRelay();
    const endpoints = this.#readEndpoints();
    const nodes = [...this.#options.map.nodes()];
    this.driver.greet(greetings(this.#readRecent(), Date.now(), Math.random));
    this.roster.apply({ added: nodes, changed: [], removed: [] }, (id) => endpoints.get(id));
    this.whereabouts.start();
    this.#timer = setInterval(() => this.#lookAtTraffic(), ACTIVITY_INTERVAL);
    await this.#startNames();
  }

  /** This node was let in, and has addresses from now on. */
  async settle(): Promise<void> {
    try {
      this.#configureLink();
      await Promise.all([this.retell(), this.#startNames()]);
    } catch (error) {
      this.#options.log.error((error as Error).message);
    }
  }

  /** What the next process is to begin with. */
  save(): void {
    this.keeper.save();
    this.keeper.trafficSeen(this.#options.device.interface.now(), true);
  }

  async stop(): Promise<void> {
    const { client, device, privateKey } = this.#options;
    this.#isStopped = true;
    clearInterval(this.#timer);
    this.whereabouts.close();
    this.keeper.stop();
    this.roster.stop();
    client.close();
    this.#relay?.close();
    this.driver.close();
    await device.close();
    this.#stopHost(); // what protects goes last
    privateKey.destroy();
  }

  /** How a member is reached; one that the hub misses and that does not answer directly is offline. */
  path(id: number): PathStatus {
    const path = this.driver.status(id) ?? { kind: 'none', why: 'its key is no key', since: Date.now() };
    const absence = this.presence.absence(id, performance.now());
    if (absence === undefined || path.kind === 'direct') return path;
    const { ago } = absence;
    const why = ago === undefined ? 'not seen since the hub was started' : '';
    return {
      kind: 'offline',
      why,
      since: path.since,
      ...(ago !== undefined && { lastSeen: Date.now() - ago }),
    };
  }

  /** Gets other credentials for the relay: it sends through the channel again, until they are used. */
  async renewRelay(): Promise<void> {
    const { client, log } = this.#options;
    try {
      const { relay, you } = await client.attachAgain();
      const { address } = this.hub;
      if (this.#isStopped || address === undefined || you.pending) return;
      this.relay.attached({ address, port: 0 }, relay);
    } catch (error) {
      log.verbose(`No new credentials for the relay: ${(error as Error).message}`); // `connected` brings some
    }
  }

  /** The hub may have forgotten what this node offers, or not know what its machine has. */
  retell(): Promise<void> {
    const { client, log } = this.#options;
    const { node } = this.record;
    const onShares = (answered: readonly OfferedShare[]): void =>
      this.record.setShares(node.shares, answered);
    return retell({ client, node, hasIpv6: this.#hasIpv6, onShares, log });
  }

  #configureLink(): void {
    const { link } = this.#options.device;
    const { you, network } = this.record.node;
    const [range4, range6] = this.ranges;
    const address = (text: string, { prefix }: Cidr): Cidr => ({ address: parseAddress(text)!, prefix });
    const bare = { up: true, bareAddresses: true, mtu: network.mtu, addresses: [] };
    if (you.ipv4 === undefined || you.ipv6 === undefined) {
      this.host.configure(bare);
      return;
    }
    const device = { ...bare, addresses: [address(you.ipv4, range4)] };
    const both = { ...bare, addresses: [...device.addresses, address(you.ipv6, range6)] };
    this.host.configure(both);
    const found = link.addresses();
    const [has4, has6] = both.addresses.map((wanted) =>
      found.some((own) => addressesEqual(own.address, wanted.address)),
    );
    const { failure } = this.host;
    const removed = `another program removes the addresses of ${link.name}`;
    if (!has4) throw failure ?? new LametunError('linux', `${removed}: stop that program`);
    if (has6) return;
    this.#hasIpv6 = false;
    this.host.configure(device);
    this.warnings.push(
      `There is no IPv6 inside the network here (${failure?.message ?? removed}): this node and the others reach each other by IPv4 alone`,
    );
  }

  #stopHost(): void {
    try {
      this.host.stop();
    } catch (error) {
      this.#options.log.error((error as Error).message);
    }
  }

  #startRelay(): Promise<RelayClient> {
    const { crypto, client, device, node } = this.#options;
    const wireguard = device.interface;
    return RelayClient.start({
      crypto,
      frameLength: node.network.mtu + TRANSPORT.minLength + RELAY_FRAME.payload,
      port: () => device.port,
      send: (bytes, to) => wireguard.sendBeside(bytes, wireguard.endpoint(to)),
      sendFrame: (peer, datagram) => void client.sendFrame(peer, datagram),
      onRelay: (relay, why) => this.driver.setRelay(relay, why),
      onSeen: (seen, isKnown) => this.whereabouts.setSeen(seen, isKnown),
      onLost: () => {
        client.probe(); // where UDP does not pass, TCP may not either
        void this.renewRelay();
      },
      now: () => wireguard.now(),
    });
  }

  /** Names need an address to be answered at. */
  async #startNames(): Promise<void> {
    const { state, log } = this.#options;
    const { network, you, device } = this.record.node;
    if (!this.#options.names || you.ipv4 === undefined || you.ipv6 === undefined) return;
    const names = await LocalNames.start({
      ...{ network: network.name, ranges: this.ranges, device, stateDirectory: state.path },
      addresses: {
        ipv4: parseAddress(you.ipv4)!,
        ...(this.#hasIpv6 && { ipv6: parseAddress(you.ipv6)! }),
      },
      log: (message) => log.error(message),
    });
    if (this.#isStopped) names.stop();
    else this.roster.useNames(names);
  }

  #readKnown(): KnownNames {
    try {
      return new KnownNames(this.#options.state.readNames());
    } catch (error) {
      this.warnings.push(`${(error as Error).message}; it is made anew`);
      return new KnownNames();
    }
  }

  #readEndpoints(): ReadonlyMap<number, Endpoint> {
    try {
      return this.keeper.endpoints();
    } catch (error) {
      this.warnings.push(`${(error as Error).message}; it is made anew`);
      return new Map();
    }
  }

  #readRecent(): RecentPeers | undefined {
    try {
      return this.#options.state.readRecent();
    } catch (error) {
      this.warnings.push(`${(error as Error).message}; it is made anew`);
      return undefined;
    }
  }

  #lookAtTraffic(): void {
    const { isRelayed, isSilent } = this.driver.handleActivity(this.table.active());
    this.keeper.trafficSeen(this.#options.device.interface.now());
    if (!isRelayed) return;
    this.relay.handleActivity(isSilent);
    if (isSilent && this.relay.status.via === 'websocket') this.#options.client.probe();
  }

  /** This machine may be in another network. */
  #moved(isOwn: (address: IpAddress) => boolean): void {
    this.#options.client.networkChanged(isOwn);
    this.relay.rebind();
    this.roster.route();
  }
}

import type { CreatedInterface } from '../../device/running-interface.js';
import { LametunError, usage } from '../../errors.js';
import { parseAddress } from '../../ip/address.js';
import type { Endpoint } from '../../ip/endpoint.js';
import { nameServers } from '../../linux/net/name-servers.js';
import { bootTime, systemWallClock } from '../../linux/process/clock.js';
import type { NetworkMap } from '../../protocol/map.js';
import type { AdminAnswer, AdminRequest, OfferedShare } from '../../protocol/messages.js';
import type { NodeId } from '../../protocol/node-id.js';
import type { HubAddress } from '../../protocol/token.js';
import type { SocketEndpoint } from '../../tunnel/engine.js';
import type { Crypto, PrivateKey } from '../../wireguard/crypto.js';
import type { LeaveAnswer, NodeStatus, PingAnswer, TrustAnswer } from '../control/control.js';
import type { NodeEnd, RunningNode } from '../control/running-node.js';
import type { NodeCommand } from '../machine/commands.js';
import type { HubClient } from '../machine/hub/hub-client.js';
import type { HubEvent } from '../machine/hub/hub-events.js';
import { HubFailure } from '../machine/hub/hub-failure.js';
import { NodeMachine } from '../machine/node-machine.js';
import type { RelayRoute } from '../machine/paths/relay-link.js';
import { localRoutes, parseShare } from '../machine/ranges.js';
import type { StoredNode, StoredState } from '../machine/stored.js';
import { TRAFFIC_INTERVAL } from '../machine/traffic.js';
import type { HubSockets } from './hub-sockets.js';
import { localRouting } from './local-routing.js';
import { NodeHost } from './node-host.js';
import { NodeNames, type NodeNamesOptions } from './node-names.js';
import { PeerTable } from './peer-table.js';
import { RelaySocket } from './relay-socket.js';
import { Surroundings } from './surroundings.js';
import { Timer } from './timer.js';

export interface NodeShellOptions extends NodeNamesOptions {
  readonly crypto: Crypto;
  /** Destroyed at the end, as the interface is closed then. */
  readonly privateKey: PrivateKey;
  readonly device: CreatedInterface;
  readonly client: HubClient;
  /** The client's. */
  readonly sockets: HubSockets;
  /** What the client has told already. */
  readonly early: readonly HubEvent[];
  /** The client's. */
  readonly map: NetworkMap;
  readonly node: StoredNode;
  readonly warnings: readonly string[];
  /** What a node that joins asked to be called. */
  readonly wished?: string | undefined;
}

/** A node that is up: carries out what its machine wants, and tells it what happens. */
export class NodeShell implements RunningNode {
  readonly ended: Promise<NodeEnd>;
  /** The hub has said who is in the network, and they are found by name; or that this node must wait. */
  readonly introduced: Promise<void>;
  readonly #options: NodeShellOptions;
  readonly #machine: NodeMachine;
  readonly #host: NodeHost;
  readonly #peers: PeerTable;
  readonly #names: NodeNames;
  readonly #timer = new Timer(() => this.#expire());
  /** What was wrong from the beginning, in whole sentences. */
  readonly #warnings: string[];
  readonly #waiting = new Map<number, (value: unknown, failure?: Error) => void>();
  #relaySocket: RelaySocket | undefined;
  #surroundings: Surroundings | undefined;
  #counting: NodeJS.Timeout | undefined;
  #relay: RelayRoute;
  #isSettling = false;
  #isStopped = false;
  #ending: Promise<void> | undefined;
  #stopping: Promise<void> | undefined;
  /** Where its state is kept that is out of use now. */
  #aside: string | undefined;
  #end!: (end: NodeEnd) => void;
  #introduce!: () => void;

  constructor(options: NodeShellOptions) {
    const { crypto, privateKey, client, map, node, device, log } = options;
    this.#options = options;
    this.#warnings = [...options.warnings];
    this.ended = new Promise((resolve) => {
      this.#end = resolve;
    });
    this.introduced = new Promise((resolve) => {
      this.#introduce = resolve;
    });
    const stored = { node, ...this.#readState() };
    const parts = { crypto, privateKey, client, map, stored, clock: systemWallClock() };
    this.#machine = new NodeMachine(parts, bootTime());
    this.#peers = new PeerTable(device.wireguard);
    this.#names = new NodeNames(options, () => this.#machine);
    this.#host = new NodeHost({
      ...{ device: node.device, link: device.link, log },
      plan: () => this.#machine.hostPlan(),
      onRouting: (routing) => {
        this.#machine.handleRouting(routing, this.#nameServers(), bootTime());
        setImmediate(() => this.#settle());
      },
    });
  }

  /** @throws when it does not get there; then device and client are closed, and the key is destroyed */
  async start(): Promise<void> {
    try {
      await this.#start();
      void this.#options.device.ended.then((reason) => this.#deviceEnded(reason));
    } catch (error) {
      await this.#stop();
      throw error;
    }
  }

  get isEnding(): boolean {
    return this.#ending !== undefined;
  }

  // What is asked of a node.

  status(): NodeStatus {
    const surroundings = {
      wished: this.#options.wished,
      traffic: (id: NodeId) => this.#peers.traffic(id),
      names: this.#names.status,
      warnings: [...this.#warnings, ...this.#host.warnings()],
    };
    return this.#machine.status(surroundings, bootTime(), Date.now());
  }

  async ping(node: string, sequence = 1): Promise<PingAnswer> {
    const { id, name, ipv4 } = this.#machine.findMember(node);
    const rttMs = (await this.#answer(this.#machine.ping(id, bootTime()))) as number | undefined;
    const path = this.#machine.path(id, bootTime(), Date.now());
    return { node: name, address: ipv4, sequence, rttMs, path };
  }

  async share(shares?: readonly string[]): Promise<readonly OfferedShare[]> {
    const { you, device } = this.#machine.node;
    if (shares === undefined) return you.shares;
    const routes = localRoutes(localRouting(device));
    for (const share of shares) parseShare(share, routes, this.#machine.ranges);
    return (await this.#answer(this.#machine.share(shares, bootTime()))) as readonly OfferedShare[];
  }

  trust(node: string): TrustAnswer {
    const answer = this.#machine.trust(node);
    const names = this.#machine.takeNames();
    try {
      if (names !== undefined) this.#options.state.write('names', names);
    } catch (error) {
      this.#machine.handleNotStored('names');
      throw error;
    }
    return answer;
  }

  async leave(force = false): Promise<LeaveAnswer> {
    let told = true;
    try {
      await this.#answer(this.#machine.leave(bootTime()));
    } catch (error) {
      // The hub says that this is no member.
      told = error instanceof HubFailure && (error.kind === 'removed' || error.refusal === 'not-a-member');
      if (!told && !force)
        throw new LametunError(
          'unreachable',
          `the hub cannot be told (${(error as Error).message}): try again when it is there, or leave with --force`,
          { cause: error },
        );
    }
    const end = { reason: 'left', message: `left the network ${this.#networkName}` } as const;
    await this.#finish(end, told ? 'forget' : 'set-aside');
    return { told, kept: this.#aside };
  }

  readdress(hubKey: string, addresses: readonly HubAddress[]): void {
    const { hub, network, you } = this.#machine.node;
    if (hub.key !== hubKey)
      throw usage(
        `this machine is ${you.name} of the network ${network.name}, and the token is of another hub: \`lametun leave\` ends that, and --state DIR keeps several`,
      );
    this.#machine.readdress(addresses, bootTime());
    this.#settle();
  }

  async admin(request: AdminRequest): Promise<AdminAnswer> {
    return (await this.#answer(this.#machine.admin(request, bootTime()))) as AdminAnswer;
  }

  close(): Promise<void> {
    return this.#finish({ reason: 'closed', message: 'told to stop' });
  }

  // What happens.

  /** What came beside WireGuard on the interface's socket. */
  handleSideChannel(bytes: Uint8Array, from: SocketEndpoint): void {
    if (this.#isStopped || this.#relaySocket === undefined) return; // its machine is not there yet
    this.#machine.handleSideChannel(bytes, from, bootTime());
    this.#settle();
  }

  async #start(): Promise<void> {
    const { device, sockets, early, node } = this.#options;
    this.#relaySocket = await RelaySocket.open({
      port: () => device.port,
      onFrame: (peer, datagram) => void sockets.sendFrame(peer, datagram),
    });
    this.#surroundings = new Surroundings({
      device: node.device,
      onChange: (addresses) => this.#addressesChanged(addresses, true),
    });
    sockets.handOver(() => this.#settle());
    this.#machine.start(bootTime(), early);
    this.#settle(); // a node that has just joined attaches meanwhile
    this.#configure();
    this.#addressesChanged(this.#surroundings.addresses(), false);
    this.#counting = setInterval(() => this.#count(), TRAFFIC_INTERVAL);
    await this.#names.start();
    this.#settle();
  }

  /** Gives the interface its addresses; without IPv6 where this machine has none. */
  #configure(): void {
    const why = this.#host.configure();
    if (why === undefined) return;
    this.#machine.handleIpv6(false, bootTime());
    this.#settle();
    this.#warnings.push(
      `There is no IPv6 inside the network here (${why}): this node and the others reach each other by IPv4 alone`,
    );
  }

  #addressesChanged(addresses: Parameters<NodeMachine['handleAddresses']>[0], hasMoved: boolean): void {
    this.#machine.handleAddresses(addresses, hasMoved, bootTime());
    this.#settle();
  }

  #count(): void {
    this.#machine.handleTraffic(this.#peers.counted(), bootTime());
    this.#settle();
  }

  #expire(): void {
    this.#machine.handleTimeout(bootTime());
    this.#settle();
  }

  /** The machine's other name servers must stay reachable from outside of the tunnel. */
  #nameServers(): ReturnType<typeof nameServers> {
    const upstreams = this.#names.upstreams().flatMap((text) => parseAddress(text) ?? []);
    return [...upstreams, ...nameServers()];
  }

  /** Carries out what the machine wants, until it wants nothing more for now. */
  #settle(): void {
    if (this.#isStopped || this.#isSettling) return;
    this.#isSettling = true;
    let isPeersChanged = false;
    try {
      for (let command = this.#machine.poll(); command; command = this.#machine.poll()) {
        isPeersChanged ||=
          command.kind === 'peer' || command.kind === 'remove-peer' || command.kind === 'shares';
        this.#perform(command);
      }
      if (isPeersChanged) this.#peers.commit();
    } finally {
      this.#isSettling = false;
    }
    this.#timer.set(this.#machine.nextTimeout(), bootTime());
  }

  #perform(command: NodeCommand): void {
    const { device, log } = this.#options;
    const { wireguard } = device;
    switch (command.kind) {
      case 'datagram':
        wireguard.sendSideChannel(command.bytes, wireguard.endpoint(command.to), command.hops);
        return;
      case 'reply':
        wireguard.sendSideChannel(command.bytes, command.to as SocketEndpoint);
        return;
      case 'relayed': {
        const relay = this.#relayEndpoint();
        if (relay !== undefined)
          wireguard.sendSideChannel(command.bytes, wireguard.endpoint(relay, command.peer));
        return;
      }
      case 'frame':
        this.#relaySocket?.deliver(command.peer, command.datagram);
        return;
      case 'relay':
        this.#relay = command.route;
        wireguard.setRelays(
          [this.#relaySocket?.endpoint, command.address].filter((relay) => relay !== undefined),
        );
        return;
      case 'peer':
        try {
          this.#peers.add(command);
        } catch (error) {
          log.error(`node ${command.id}: ${(error as Error).message}`);
        }
        return;
      case 'remove-peer':
        this.#peers.remove(command.id);
        return;
      case 'shares':
        this.#peers.setShares(command.owners);
        return;
      case 'endpoint': {
        const remote = command.endpoint ?? this.#relayEndpoint();
        const isRelayed = command.endpoint === undefined;
        if (remote !== undefined) this.#peers.setEndpoint(command.peer, remote, isRelayed);
        return;
      }
      case 'greet':
        this.#peers.greet(command.peer);
        return;
      case 'host':
        this.#reconcile();
        return;
      case 'names':
        this.#names.set(command.nodes);
        return;
      case 'approved':
        void this.#approved();
        return;
      case 'hub':
        this.#surroundings?.setHub(command.address);
        return;
      case 'store':
        this.#store(command);
        return;
      case 'log':
        log[command.level](command.message);
        return;
      case 'answer':
        this.#waiting.get(command.token)?.(command.value, command.failure);
        this.#waiting.delete(command.token);
        return;
      case 'introduced':
        this.#introduce();
        return;
      case 'removed': {
        const message = `this node was removed from the network ${this.#networkName}`;
        void this.#finish({ reason: 'removed', message }, 'set-aside');
        return;
      }
      default:
        this.#options.sockets.perform(command);
    }
  }

  #relayEndpoint(): Endpoint | undefined {
    return this.#relay === 'channel' ? this.#relaySocket?.endpoint : this.#relay;
  }

  /** What cannot be set is tried again, and is among the warnings. */
  #reconcile(): void {
    try {
      this.#host.reconcile();
    } catch (error) {
      this.#options.log.error((error as Error).message);
    }
  }

  async #approved(): Promise<void> {
    try {
      this.#configure();
      await this.#names.start();
    } catch (error) {
      this.#options.log.error((error as Error).message);
    }
    this.#settle();
  }

  #store({ file, value }: Extract<NodeCommand, { kind: 'store' }>): void {
    const { state, log } = this.#options;
    try {
      state.write(file, value);
    } catch (error) {
      log.error((error as Error).message);
      this.#machine.handleNotStored(file);
    }
  }

  #answer(token: number): Promise<unknown> {
    return new Promise((resolve, reject) => {
      this.#waiting.set(token, (value, failure) =>
        failure === undefined ? resolve(value) : reject(failure),
      );
      if (this.#isStopped) reject(new HubFailure('closed', 'the node has ended'));
      else this.#settle();
    });
  }

  /** What cannot be read is made anew: a node can go on without. */
  #readState(): Partial<Pick<StoredState, 'endpoints' | 'names' | 'recent'>> {
    const { state } = this.#options;
    const read = <T>(what: () => T): T | undefined => {
      try {
        return what();
      } catch (error) {
        this.#warnings.push(`${(error as Error).message}; it is made anew`);
        return undefined;
      }
    };
    const endpoints = read(() => state.readEndpoints());
    const names = read(() => state.readNames());
    const recent = read(() => state.readRecent());
    return { ...(endpoints && { endpoints }), ...(names && { names }), ...(recent && { recent }) };
  }

  get #networkName(): string {
    return this.#machine.node.network.name;
  }

  // The end.

  #deviceEnded(reason: 'device-gone' | Error): void {
    if (reason === 'device-gone') {
      const message = `the device ${this.#machine.node.device} was removed`;
      void this.#finish({ reason, message });
    } else void this.#finish({ reason: 'failed', message: reason.message });
  }

  async #finish(end: NodeEnd, identity: 'keep' | 'set-aside' | 'forget' = 'keep'): Promise<void> {
    this.#ending ??= this.#finishOnce(end, identity);
    await this.#ending;
  }

  /** Whatever cannot be undone: the node has ended, and whoever waits for that hears of it. */
  async #finishOnce(end: NodeEnd, identity: 'keep' | 'set-aside' | 'forget'): Promise<void> {
    const { state } = this.#options;
    await undefined; // until what the machine wants now is done: its own commands may have led here
    try {
      if (identity === 'keep') this.#machine.save(bootTime());
      await this.#stop();
      if (identity === 'forget') state.forgetNode();
      if (identity === 'set-aside')
        this.#aside = state.setNodeAside(end.reason === 'left' ? 'left' : 'removed');
      const kept = this.#aside === undefined ? '' : `; its key and its state are kept in ${this.#aside}`;
      this.#end({ ...end, message: end.message + kept });
    } catch (error) {
      this.#end({ reason: 'failed', message: `${end.message}, but: ${(error as Error).message}` });
    }
  }

  #stop(): Promise<void> {
    this.#stopping ??= this.#stopOnce();
    return this.#stopping;
  }

  async #stopOnce(): Promise<void> {
    const { device, privateKey, log } = this.#options;
    clearInterval(this.#counting);
    this.#surroundings?.close();
    this.#machine.close();
    this.#settle(); // what is to be stored, and told
    this.#isStopped = true;
    this.#timer.clear();
    this.#peers.close();
    this.#names.stop();
    this.#relaySocket?.close();
    await device.close();
    try {
      this.#host.stop(); // what protects goes last
    } catch (error) {
      log.error((error as Error).message);
    }
    privateKey.destroy();
  }
}

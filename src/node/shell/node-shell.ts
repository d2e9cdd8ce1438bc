import type { CreatedInterface } from '../../device/running-interface.js';
import { usage } from '../../errors.js';
import { parseAddress } from '../../ip/address.js';
import { nameServers } from '../../linux/net/name-servers.js';
import { bootTime, systemWallClock } from '../../linux/process/clock.js';
import type { Log } from '../../log.js';
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
import type { LocalAddress } from '../machine/paths/candidates.js';
import type { StoredNode } from '../machine/stored.js';
import { TRAFFIC_INTERVAL } from '../machine/traffic.js';
import { LocalNames } from '../names/local-names.js';
import type { HubSockets } from './hub-sockets.js';
import { tellHub } from './leave.js';
import { checkShares } from './local-routing.js';
import { NodeHost } from './node-host.js';
import { NodeInterface } from './node-interface.js';
import type { StateDirectory } from './state.js';
import { Surroundings } from './surroundings.js';
import { Timer } from './timer.js';

export interface NodeShellOptions {
  readonly state: StateDirectory;
  readonly log: Log;
  readonly crypto: Crypto;
  /** Destroyed at the end, as the interface is closed then. */
  readonly privateKey: PrivateKey;
  readonly device: CreatedInterface;
  readonly client: HubClient;
  /** The sockets and the network map of `client`. */
  readonly sockets: HubSockets;
  readonly map: NetworkMap;
  /** Events of `client` that nobody has handled yet. */
  readonly early: readonly HubEvent[];
  readonly node: StoredNode;
  readonly warnings: readonly string[];
  /** The name that a joining node asked for. */
  readonly wished?: string | undefined;
}

/** Whether a node that ends keeps its key and its state. */
type Identity = 'keep' | 'set-aside' | 'forget';

/** A running node: carries out the commands of its machine, and tells it what happens. */
export class NodeShell implements RunningNode {
  readonly ended: Promise<NodeEnd>;
  /** Resolves when members can be found by name, or when this node is pending. */
  readonly introduced: Promise<void>;
  readonly #options: NodeShellOptions;
  readonly #machine: NodeMachine;
  readonly #host: NodeHost;
  readonly #interface: NodeInterface;
  readonly #names: LocalNames;
  readonly #timer = new Timer(() => this.#tell(() => this.#machine.handleTimeout(bootTime())));
  /** Problems at the start, in whole sentences. */
  readonly #warnings: string[];
  readonly #waiting = new Map<number, (value: unknown, failure?: Error) => void>();
  #surroundings: Surroundings | undefined;
  #trafficTimer: NodeJS.Timeout | undefined;
  #isSettling = false;
  #isStopped = false;
  #ending: Promise<void> | undefined;
  #stopping: Promise<void> | undefined;
  /** The directory with the state of a node that is no longer a member. */
  #aside: string | undefined;
  #end!: (end: NodeEnd) => void;
  #introduce!: () => void;

  constructor(options: NodeShellOptions) {
    const { crypto, privateKey, client, map, node, device, log, state } = options;
    this.#options = options;
    this.#warnings = [...options.warnings];
    this.ended = new Promise((resolve) => {
      this.#end = resolve;
    });
    this.introduced = new Promise((resolve) => {
      this.#introduce = resolve;
    });
    const optional = state.readOptional(({ message }) =>
      this.#warnings.push(`${message}; this node begins without it`),
    );
    const parts = {
      crypto,
      privateKey,
      client,
      map,
      stored: { node, ...optional },
      clock: systemWallClock(),
    };
    this.#machine = new NodeMachine(parts, bootTime());
    this.#interface = new NodeInterface(device, log);
    this.#names = new LocalNames((message) => log.error(message));
    this.#host = new NodeHost({
      ...{ link: device.link, log },
      plan: () => this.#machine.hostPlan(),
      onRouting: (routing) => {
        // The machine's other name servers must stay reachable outside the tunnel.
        const upstreams = this.#names.upstreams().flatMap((text) => parseAddress(text) ?? []);
        this.#machine.handleRouting(routing, [...upstreams, ...nameServers()], bootTime());
        setImmediate(() => this.#settle());
      },
    });
  }

  /** @throws when it cannot start; then interface and client are closed, and the key is destroyed */
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

  // Requests.

  status(): NodeStatus {
    const surroundings = {
      wished: this.#options.wished,
      traffic: (id: NodeId) => this.#interface.traffic(id),
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
    const { you, network, interface: own } = this.#machine.node;
    if (shares === undefined) return you.shares;
    checkShares(own, shares, [network.ipv4, network.ipv6]);
    return (await this.#answer(this.#machine.share(shares, bootTime()))) as readonly OfferedShare[];
  }

  trust(node: string): TrustAnswer {
    const { known } = this.#machine;
    const { name, key } = this.#machine.findMember(node);
    const answer = { node: name, key, changed: known.trust(name) };
    const names = known.takeChanged();
    try {
      if (names !== undefined) this.#options.state.write('names', names);
    } catch (error) {
      known.putBack();
      throw error;
    }
    return answer;
  }

  async leave(force = false): Promise<LeaveAnswer> {
    const told = await tellHub(this.#answer(this.#machine.leave(bootTime())), force);
    const end = { reason: 'left', message: `left the network ${this.#networkName}` } as const;
    await this.#finish(end, told ? 'forget' : 'set-aside');
    return { told, kept: this.#aside };
  }

  readdress(hubKey: string, addresses: readonly HubAddress[]): void {
    const { hub, network, you } = this.#machine.node;
    if (hub.key !== hubKey)
      throw usage(
        `this machine is node ${you.name} of network ${network.name}, and the token is for another hub: run \`lametun leave\`, or pass --state DIR`,
      );
    this.#tell(() => this.#machine.readdress(addresses, bootTime()));
  }

  async admin(request: AdminRequest): Promise<AdminAnswer> {
    return (await this.#answer(this.#machine.admin(request, bootTime()))) as AdminAnswer;
  }

  close(): Promise<void> {
    return this.#finish({ reason: 'closed', message: 'told to stop' });
  }

  // Events.

  /** Takes a message of the side channel from the interface's socket. */
  handleSideChannel(bytes: Uint8Array, from: SocketEndpoint): void {
    if (this.#isStopped || this.#surroundings === undefined) return; // it has not started yet
    this.#tell(() => this.#machine.handleSideChannel(bytes, from, bootTime()));
  }

  async #start(): Promise<void> {
    const { sockets, early, node } = this.#options;
    await this.#interface.openRelay((peer, datagram) => void sockets.sendFrame(peer, datagram));
    this.#surroundings = new Surroundings({
      device: node.interface,
      onChange: (addresses) => this.#addressesChanged(addresses, true),
    });
    sockets.settle = () => this.#settle();
    this.#tell(() => this.#machine.start(bootTime(), early)); // a new member attaches meanwhile
    this.#configure();
    this.#addressesChanged(this.#surroundings.addresses(), false);
    this.#trafficTimer = setInterval(
      () => this.#tell(() => this.#machine.handleTraffic(this.#interface.transfers(), bootTime())),
      TRAFFIC_INTERVAL,
    );
    await this.#startNames();
    this.#settle();
  }

  /** Gives the interface its addresses, without IPv6 if this machine has none. */
  #configure(): void {
    const why = this.#host.configure();
    if (why === undefined) return;
    this.#tell(() => this.#machine.handleIpv6(false, bootTime()));
    this.#warnings.push(
      `This node has no IPv6 inside the network (${why}): members can reach it only by IPv4`,
    );
  }

  /** Does nothing before this node has an address, nor a second time. */
  async #startNames(): Promise<void> {
    const { network, interface: device } = this.#machine.node;
    const [ipv4, ipv6] = this.#machine.hostPlan().addresses.map(({ address }) => address);
    if (ipv4 === undefined) return;
    await this.#names.start({
      ...{ network: network.name, ranges: this.#machine.ranges, device },
      ...{ addresses: { ipv4, ...(ipv6 && { ipv6 }) }, stateDirectory: this.#options.state.path },
    });
  }

  #addressesChanged(addresses: readonly LocalAddress[], hasMoved: boolean): void {
    this.#tell(() => this.#machine.handleAddresses(addresses, hasMoved, bootTime()));
  }

  /** Tells the machine something, and carries out what follows. */
  #tell(tell: () => void): void {
    tell();
    this.#settle();
  }

  /** Carries out the machine's commands until there are none. */
  #settle(): void {
    if (this.#isStopped || this.#isSettling) return;
    this.#isSettling = true;
    try {
      for (let command = this.#machine.poll(); command; command = this.#machine.poll())
        this.#perform(command);
      this.#interface.commit();
    } finally {
      this.#isSettling = false;
    }
    this.#timer.set(this.#machine.nextTimeout(), bootTime());
  }

  #perform(command: NodeCommand): void {
    const { log, sockets } = this.#options;
    switch (command.kind) {
      case 'resolve':
      case 'dial':
      case 'send':
      case 'ping':
      case 'close':
      case 'abort':
        sockets.perform(command);
        return;
      case 'host':
        this.#logFailure(() => this.#host.reconcile()); // it tries again, and warns
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
        if (!this.#logFailure(() => this.#options.state.write(command.file, command.value)))
          this.#machine.keeper.handleNotStored(command.file);
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
        this.#interface.perform(command);
    }
  }

  async #approved(): Promise<void> {
    if (this.#logFailure(() => this.#configure())) await this.#startNames();
    this.#settle();
  }

  /** @returns whether it worked */
  #logFailure(action: () => void): boolean {
    try {
      action();
      return true;
    } catch (error) {
      this.#options.log.error((error as Error).message);
      return false;
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

  get #networkName(): string {
    return this.#machine.node.network.name;
  }

  // The end.

  #deviceEnded(reason: 'device-gone' | Error): void {
    if (reason === 'device-gone') {
      const message = `interface ${this.#machine.node.interface} was removed`;
      void this.#finish({ reason, message });
    } else void this.#finish({ reason: 'failed', message: reason.message });
  }

  async #finish(end: NodeEnd, identity: Identity = 'keep'): Promise<void> {
    this.#ending ??= this.#finishOnce(end, identity);
    await this.#ending;
  }

  /** Never rejects: whatever cannot be undone, the node has ended, and `ended` resolves. */
  async #finishOnce(end: NodeEnd, identity: Identity): Promise<void> {
    const { state } = this.#options;
    await undefined; // lets the machine's present commands finish: one of them may have led here
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
    const { device, privateKey } = this.#options;
    clearInterval(this.#trafficTimer);
    this.#surroundings?.close();
    this.#tell(() => this.#machine.close()); // stores and sends the last things
    this.#isStopped = true;
    this.#timer.clear();
    this.#names.stop();
    this.#interface.close();
    await device.close();
    this.#logFailure(() => this.#host.stop()); // the rules that protect go last
    privateKey.destroy();
  }
}

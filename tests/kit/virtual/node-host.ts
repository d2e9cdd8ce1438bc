import { parseAddress } from '../../../src/ip/address.js';
import { parseCidr } from '../../../src/ip/cidr.js';
import type { Endpoint } from '../../../src/ip/endpoint.js';
import type { NamedNode, NodeCommand } from '../../../src/node/machine/commands.js';
import { HubClient } from '../../../src/node/machine/hub/hub-client.js';
import type { HubCommand, HubEvent } from '../../../src/node/machine/hub/hub-events.js';
import { connectFailure } from '../../../src/node/machine/hub/hub-failure.js';
import { byToken, searched } from '../../../src/node/machine/hub-addresses.js';
import { NodeMachine } from '../../../src/node/machine/node-machine.js';
import type { RelayRoute } from '../../../src/node/machine/paths/relay-link.js';
import type { Routing } from '../../../src/node/machine/ranges.js';
import type { StoredState } from '../../../src/node/machine/stored.js';
import { TRAFFIC_INTERVAL } from '../../../src/node/machine/traffic.js';
import { NetworkMap } from '../../../src/protocol/map.js';
import { MAGIC, openFrame, writeFrameHeader } from '../../../src/protocol/relay.js';
import { encodeBase64 } from '../../../src/protocol/text.js';
import { WallClock } from '../../../src/wall-clock.js';
import type { Crypto, PrivateKey } from '../../../src/wireguard/crypto.js';
import { endpointNumber } from '../nat-model.js';
import type { Agenda } from './agenda.js';
import { EPOCH } from './hub.js';
import type { HubHost } from './hub-host.js';
import { VirtualInterface } from './interface.js';
import { type ConnectionEnd, type Host, type Internet, type Site, show } from './internet.js';

/** How long it takes until a machine's network is looked at after something has changed there, milliseconds. */
const NOTICE = 100;
export interface NodeHostOptions {
  readonly internet: Internet;
  readonly agenda: Agenda;
  readonly crypto: Crypto;
  readonly hub: HubHost;
  readonly name: string;
  readonly privateKey: PrivateKey;
  readonly shares: readonly string[];
  /** Of its UDP socket: a free one, as the kernel chooses it. */
  readonly port: number;
  readonly tell: (text: string) => void;
  /** The protocol versions of the node; default: those of the product. */
  readonly speaks?: readonly number[] | undefined;
}

/** What a node keeps on its disk: it outlives the process. */
type Disk = { -readonly [File in keyof StoredState]?: StoredState[File] };

/** A machine with a node: the product's node machine, a disk, and a data plane that counts packets. */
export class NodeHost {
  readonly name: string;
  readonly key: string;
  disk: Disk = {};
  /** Where it is on the internet now. */
  host: Host;
  machine: NodeMachine | undefined;
  /** Of an acknowledged membership. */
  id: number | undefined;
  readonly interface: VirtualInterface;
  /** The hub has said that it is no member. */
  isRemoved = false;
  /** Datagrams and messages to the hub. */
  datagrams = 0;
  messages = 0;
  /** Attachments, and changes of what it wants of its machine. */
  connects = 0;
  plans = 0;
  /** Of all members, as programs find them. */
  names: readonly NamedNode[] = [];
  readonly #options: NodeHostOptions;
  #secret: Uint8Array | undefined;
  #process = 0;
  #client: HubClient | undefined;
  #map = new NetworkMap();
  readonly #connections = new Map<number, ConnectionEnd>();
  #relay: RelayRoute;
  /** The relay's by UDP: what comes from there is relayed, wherever relayed data goes. */
  #relayAddress: Endpoint | undefined;
  #timerAt = Number.POSITIVE_INFINITY;
  #isCounting = false;
  readonly #waiting = new Map<number, (value: unknown, failure?: Error) => void>();

  constructor(options: NodeHostOptions, site: Site, address: Uint8Array) {
    this.#options = options;
    this.name = options.name;
    this.key = encodeBase64(options.privateKey.publicKey.bytes);
    this.host = this.#plugIn(site, address);
    this.interface = new VirtualInterface({
      agenda: options.agenda,
      id: () => this.id!,
      isUp: () => !this.host.isDown && this.machine !== undefined,
      send: (bytes, to) => this.#sendUdp(bytes, to),
      sendRelayed: (bytes, peer) => this.#sendRelayed(bytes, peer),
      onTraffic: () => this.#countSoon(),
    });
  }

  get isRunning(): boolean {
    return this.#client !== undefined;
  }

  get isAttached(): boolean {
    return this.#client?.state.kind === 'connected';
  }

  get hubState(): string {
    const state = this.#client?.state;
    return state === undefined ? 'not running' : 'failure' in state ? state.failure.message : state.kind;
  }

  get relay(): string {
    return this.#relay === undefined ? 'none' : this.#relay === 'channel' ? 'channel' : show(this.#relay);
  }

  // Its life.

  /** Starts the process: with a disk that has a member on it, or to join. */
  start(secret?: Uint8Array): void {
    const { crypto, privateKey, hub, agenda, name, shares, speaks } = this.#options;
    const { node, map } = this.disk;
    this.#secret = secret ?? this.#secret;
    this.#process++;
    this.#map = new NetworkMap();
    if (map !== undefined) this.#map.applyMap(map);
    const member =
      node === undefined ? { join: { secret: this.#secret!, name, shares } } : { network: node.network.id };
    this.#client = new HubClient({
      ...{ crypto, privateKey, hubKey: hub.publicKey, program: 'virtual node', map: this.#map, member },
      speaks,
      addresses: node === undefined ? hub.tokenAddresses : searched(node.hub),
    });
    this.#client.start(agenda.now);
    if (node !== undefined) this.#becomeMember();
    this.settle();
  }

  /** The process ends, without a word; what it wrote is there. */
  kill(): void {
    for (const end of this.#connections.values()) end.close(1006);
    this.#forget();
  }

  /** The same, and nobody hears of it. */
  losePower(): void {
    this.host.isDown = true;
    this.#forget();
  }

  /** The machine is somewhere else, with another address: it notices. */
  moveTo(site: Site, address: Uint8Array): void {
    const { isDown } = this.host;
    this.#options.internet.unplug(this.host);
    this.host = this.#plugIn(site, address);
    this.host.isDown = isDown;
    if (!isDown) this.#noticeMove();
  }

  /** The connection to the hub breaks. */
  breakOff(): void {
    for (const [connection, end] of this.#connections) {
      end.close(1006);
      this.#client?.handleClosed(connection, 1006, this.#options.agenda.now);
    }
    this.settle();
  }

  /** The machine may be somewhere else. */
  networkChanged(): void {
    if (this.machine === undefined || this.host.isDown) return;
    this.machine.handleAddresses(this.#addresses(), true, this.#options.agenda.now);
    this.settle();
  }

  /** Another machine with the same state. */
  copy(site: Site, address: Uint8Array): NodeHost {
    const copy = new NodeHost(this.#options, site, address);
    copy.disk = { ...this.disk };
    return copy;
  }

  sleep(): void {
    this.host.isDown = true;
  }

  wake(): void {
    this.host.isDown = false;
    this.#expire();
    this.#noticeMove();
  }

  // What its user does.

  /** Offers these networks. @returns what the hub makes of it, or that it did not answer */
  share(shares: readonly string[]): Promise<unknown> {
    return this.#ask((machine, now) => machine.share(shares, now));
  }

  leave(): Promise<unknown> {
    return this.#ask((machine, now) => machine.leave(now));
  }

  /** How a member is reached, in words. */
  pathTo(id: number): string {
    const { now } = this.#options.agenda;
    const { kind, endpoint = '', why } = this.machine!.path(id, now, EPOCH + now);
    return `${kind} ${endpoint} (${why})`;
  }

  isDirectTo(id: number): boolean {
    return typeof this.interface.peers.get(id)?.endpoint === 'object';
  }

  #ask(ask: (machine: NodeMachine, now: number) => number): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const { machine } = this;
      if (machine === undefined) {
        reject(new Error('it is not running'));
        return;
      }
      this.#waiting.set(ask(machine, this.#options.agenda.now), (value, failure) =>
        failure === undefined ? resolve(value) : reject(failure),
      );
      this.settle();
    });
  }

  #plugIn(site: Site, address: Uint8Array): Host {
    const host = {
      ...{ site, address, isDown: false },
      receive: (bytes: Uint8Array, from: Endpoint) => this.#receive(bytes, from),
    };
    this.#options.internet.plugIn(host);
    return host;
  }

  #forget(): void {
    this.#process++;
    this.machine = undefined;
    this.#client = undefined;
    this.#connections.clear();
    this.#isCounting = false;
    this.interface.clear();
    this.#relay = undefined;
    this.#relayAddress = undefined;
    this.#options.hub.stir();
    for (const answer of this.#waiting.values()) answer(undefined, new Error('it was stopped'));
    this.#waiting.clear();
    this.#timerAt = Number.POSITIVE_INFINITY;
  }

  #becomeMember(): void {
    const { crypto, privateKey, agenda } = this.#options;
    const { node, endpoints, names, recent } = this.disk;
    const { now } = agenda;
    this.id = node!.you.id;
    this.machine = new NodeMachine(
      {
        ...{ crypto, privateKey, client: this.#client!, map: this.#map },
        stored: {
          node: node!,
          ...(endpoints && { endpoints }),
          ...(names && { names }),
          ...(recent && { recent }),
        },
        clock: new WallClock(
          () => EPOCH + agenda.now,
          () => agenda.now,
        ),
      },
      now,
    );
    this.machine.start(now);
    this.machine.handleRouting(this.#routing(), [], now);
    this.machine.handleAddresses(this.#addresses(), false, now);
  }

  #addresses() {
    return [{ device: 'eth0', kind: undefined, address: this.host.address }];
  }

  /** The route of its LAN, and those of the shares that it offers itself. */
  #routing(): Routing {
    const lan = { address: Uint8Array.from([...this.host.address.subarray(0, 3), 0]), prefix: 24 };
    const route = { name: 'the route of its LAN', local: false, table: 254, kind: 'unicast' as const };
    const rule = {
      ...{ priority: 32_766, action: 'lookup' as const, table: 254, target: undefined, to: undefined },
      ...{ from: undefined, inputDevice: undefined, outputDevice: undefined, mark: 0, mask: 0 },
      ...{ suppressPrefix: -1, isOfMaster: false, isPartial: false, isInverted: false },
    };
    const own = this.#options.shares.map((share) => parseCidr(share)!);
    return {
      routes: [lan, ...own].map((destination) => ({ ...route, destination, gateway: undefined })),
      rules: [
        { ...rule, family: 4 },
        { ...rule, family: 6 },
      ],
    };
  }

  #noticeMove(): void {
    const process = this.#process;
    this.#options.agenda.after(NOTICE, () => {
      if (process !== this.#process || this.machine === undefined || this.host.isDown) return;
      const { now } = this.#options.agenda;
      this.machine.handleRouting(this.#routing(), [], now);
      this.machine.handleAddresses(this.#addresses(), true, now);
      this.settle();
    });
  }

  // What its machine wants.

  settle(): void {
    const source = this.machine ?? this.#client;
    for (let output = source?.poll(); output; output = source?.poll()) {
      this.#perform(output);
      if (source !== (this.machine ?? this.#client)) {
        this.settle(); // it has become a member, or its process has ended
        return;
      }
    }
    this.#setTimer();
  }

  #setTimer(): void {
    const { agenda } = this.#options;
    const next = (this.machine ?? this.#client)?.nextTimeout() ?? Number.POSITIVE_INFINITY;
    if (next >= this.#timerAt || next === Number.POSITIVE_INFINITY) return; // it is set anew when it comes
    const process = this.#process;
    const at = Math.max(next, agenda.now);
    this.#timerAt = at;
    agenda.at(at, () => {
      if (process !== this.#process || this.#timerAt !== at) return;
      this.#timerAt = Number.POSITIVE_INFINITY;
      if (!this.host.isDown) this.#expire();
    });
  }

  #expire(): void {
    this.#timerAt = Number.POSITIVE_INFINITY;
    (this.machine ?? this.#client)?.handleTimeout(this.#options.agenda.now);
    this.settle();
  }

  #perform(output: NodeCommand | HubEvent): void {
    const { agenda, tell } = this.#options;
    switch (output.kind) {
      case 'resolve':
      case 'dial':
      case 'send':
      case 'ping':
      case 'close':
      case 'abort':
        this.#performHub(output);
        return;
      case 'invitation':
        this.#client!.proceed(agenda.now);
        return;
      case 'joined': {
        const { network, you } = output;
        const hub = {
          key: encodeBase64(this.#options.hub.publicKey),
          ...byToken(undefined, this.#options.hub.tokenAddresses),
        };
        const { shares, port } = this.#options;
        this.disk.node = { network, you, hub, port, interface: 'lametun0', shares };
        tell(`${this.name} has joined as node ${you.id}`);
        this.#becomeMember();
        return;
      }
      case 'disconnected':
        tell(`${this.name} cannot join: ${output.failure.message}`);
        if (output.retryIn === undefined) this.#forget();
        return;
      case 'datagram':
        this.#sendUdp(output.bytes, output.to, output.hops);
        return;
      case 'reply':
        if (output.to.relayPeer === 0) this.#sendUdp(output.bytes, output.to.remote);
        else this.#sendRelayed(output.bytes, output.to.relayPeer);
        return;
      case 'relayed':
        this.#sendRelayed(output.bytes, output.peer);
        return;
      case 'peer':
        this.interface.add(output.id, output.key);
        return;
      case 'remove-peer':
        this.interface.remove(output.id);
        return;
      case 'endpoint':
        this.interface.setEndpoint(output.peer, output.endpoint ?? 'relay');
        return;
      case 'greet':
        this.interface.greet(output.peer);
        return;
      case 'relay':
        this.#relay = output.route;
        this.#relayAddress = output.address;
        return;
      case 'frame':
        this.#receiveFrame(output.datagram, output.peer, undefined);
        return;
      case 'host':
        this.plans++;
        return;
      case 'hub':
        this.connects++;
        return;
      case 'names':
        this.names = output.nodes;
        return;
      case 'store':
        this.disk = { ...this.disk, [output.file]: output.value };
        return;
      case 'answer':
        this.#options.hub.stir();
        this.#waiting.get(output.token)?.(output.value, output.failure);
        this.#waiting.delete(output.token);
        return;
      case 'log':
        if (output.level === 'error') tell(`${this.name}: ${output.message}`);
        return;
      case 'removed':
        tell(`${this.name} hears that it was removed`);
        this.isRemoved = true;
        this.#forget();
        return;
    }
  }

  #performHub(command: HubCommand): void {
    const { internet, hub, agenda } = this.#options;
    const client = this.#client!;
    if (command.kind === 'dial') {
      const { connection, target } = command;
      const process = this.#process;
      const ifMine = <A extends unknown[]>(act: (...args: A) => void) => {
        return (...args: A): void => {
          if (process !== this.#process || this.host.isDown) return;
          act(...args);
          this.settle();
        };
      };
      const dialled = internet.dial(this.host, hub.at(target.ip), (end) => hub.accept(end));
      const end = dialled.begin({
        opened: ifMine(() => {
          const remote = { address: parseAddress(target.ip)!, port: target.address.port };
          client.handleConnected(connection, remote, { address: this.host.address, port: 1 }, agenda.now);
          client.handleOpened(connection, agenda.now);
        }),
        refused: ifMine(() => {
          client.handleFailed(connection, connectFailure('the hub', 'ECONNREFUSED'), agenda.now);
        }),
        message: ifMine((bytes) => client.handleMessage(connection, bytes, agenda.now)),
        ping: () => {},
        pong: ifMine(() => client.handlePong(connection)),
        closed: ifMine((code) => client.handleClosed(connection, code, agenda.now)),
      });
      this.#connections.set(connection, end);
    } else if (command.kind !== 'resolve') {
      const end = this.#connections.get(command.connection);
      if (command.kind === 'send') {
        this.messages++;
        end?.send(command.bytes);
      } else if (command.kind === 'ping') {
        this.messages++;
        end?.ping();
      } else {
        this.#connections.delete(command.connection);
        end?.close(command.kind === 'close' ? command.code : 1006);
      }
    }
  }

  // The data plane.

  #sendUdp(bytes: Uint8Array, to: Endpoint, hops?: number): void {
    this.datagrams++;
    this.#options.internet.send(this.host, this.#options.port, bytes, to, hops);
  }

  #sendRelayed(bytes: Uint8Array, peer: number): void {
    if (this.#relay === undefined) return;
    if (this.#relay === 'channel') {
      const connection = this.#client?.frameConnection;
      const sealed = connection === undefined ? undefined : this.#client!.sealFrame(peer, bytes);
      if (sealed !== undefined) this.#connections.get(connection!)?.send(sealed);
      return;
    }
    const frame = new Uint8Array(8 + bytes.length);
    writeFrameHeader(frame, 0, peer);
    frame.set(bytes, 8);
    this.#sendUdp(frame, this.#relay);
  }

  #receive(bytes: Uint8Array, from: Endpoint): void {
    if (this.machine === undefined || this.host.isDown) return;
    const relay = this.#relayAddress;
    const isRelay = relay !== undefined && endpointNumber(relay) === endpointNumber(from);
    const frame = isRelay ? openFrame(bytes) : undefined;
    if (frame !== undefined) this.#receiveFrame(frame.datagram, frame.peer, from);
    else this.#receiveInner(bytes, from, 0);
  }

  #receiveFrame(datagram: Uint8Array, peer: number, from: Endpoint | undefined): void {
    this.#receiveInner(datagram, from ?? { address: Uint8Array.of(127, 0, 0, 1), port: 1 }, peer);
  }

  #receiveInner(bytes: Uint8Array, remote: Endpoint, relayPeer: number): void {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    const magic = view.getInt32(0, true);
    if (magic === MAGIC.probe || magic === MAGIC.control) {
      this.machine!.handleSideChannel(bytes, { remote, relayPeer }, this.#options.agenda.now);
      this.settle();
    } else if (VirtualInterface.isMessage(magic)) this.interface.receive(view);
  }

  /** There is traffic: it is counted as often as a shell does. */
  #countSoon(): void {
    if (this.#isCounting) return;
    this.#isCounting = true;
    const { agenda } = this.#options;
    const process = this.#process;
    const rest = TRAFFIC_INTERVAL - (agenda.now % TRAFFIC_INTERVAL);
    agenda.after(rest, () => {
      if (process !== this.#process || this.machine === undefined) return;
      this.#isCounting = false;
      if (this.host.isDown) return;
      const { active } = this.interface;
      this.machine.handleTraffic(active, agenda.now);
      active.clear();
      this.settle();
    });
  }
}

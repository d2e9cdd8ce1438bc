import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { NodeCrypto } from '../../crypto/node-crypto.js';
import { type CreatedInterface, createInterface } from '../../device/running-interface.js';
import { usage } from '../../errors.js';
import { parseAddress } from '../../ip/address.js';
import { ERRNO, LinuxError } from '../../linux/ffi/errno.js';
import { findLink } from '../../linux/net/link.js';
import { nameServers } from '../../linux/net/name-servers.js';
import type { Log } from '../../log.js';
import { NetworkMap } from '../../protocol/map.js';
import type { NetworkInfo } from '../../protocol/messages.js';
import type { HubAddress, Token } from '../../protocol/token.js';
import type { PrivateKey } from '../../wireguard/crypto.js';
import type { RunningNode } from '../control/running-node.js';
import type { HubClientOptions } from '../machine/hub/hub-client.js';
import { byToken, searched } from '../machine/hub-addresses.js';
import { checkMembership, checkNetwork } from '../machine/join-checks.js';
import type { StoredNode } from '../machine/stored.js';
import { HubDriver } from './hub-driver.js';
import { checkShares, localRouting } from './local-routing.js';
import { NodeShell } from './node-shell.js';
import type { StateDirectory } from './state.js';

export interface NodeOptions {
  /** Locked and closed by the caller. */
  readonly state: StateDirectory;
  readonly log: Log;
  /** `lametun 0.1.0` */
  readonly program: string;
  /** Joins a network first, for a machine that is not a member. */
  readonly join?: {
    readonly token: Token;
    /** A DNS label; the hub may append a number. */
    readonly name: string;
    /** Networks to offer: `192.168.1.0/24`. */
    readonly shares: readonly string[];
    /** The name of the network interface. */
    readonly interface: string;
  };
  /** New addresses of a member's hub. */
  readonly hubAddresses?: readonly HubAddress[] | undefined;
  /** Aborts a join: `startNode` then rejects. */
  readonly signal?: AbortSignal | undefined;
}

/** How long a new member waits for the network map, milliseconds. The hub usually answers in tens of milliseconds. */
const INTRODUCTION = 1_000;

/** The MTU until that of the network is known, bytes. */
const FIRST_MTU = 1280;

/**
 * Starts a node from its state directory; with `join`, makes this machine a member first. Resolves when its interface is
 * up. Only a join needs the hub. The node belongs to the network namespace of the calling thread.
 *
 * @throws LametunError when it cannot start or join: it is undone, but a new membership stays
 */
export async function startNode(options: NodeOptions): Promise<RunningNode> {
  const { state, join } = options;
  const stored = state.read('node');
  if (join !== undefined && stored !== undefined)
    throw usage(
      `this machine is already node ${stored.you.name} of network ${stored.network.name}: run \`lametun up\` to start it, or \`lametun leave\` to end the membership`,
    );
  if (join !== undefined) return new Start(options).join(join);
  if (stored === undefined)
    throw usage(`${state.path} contains no node: run \`lametun join TOKEN\` or \`lametun serve\``);
  return new Start(options).resume(withAddresses(stored, options));
}

/** The first free interface name of lametun0, lametun1, ... Other networks of this machine may use the others. */
export function freeInterface(): string {
  for (let number = 0; ; number++) if (findLink(`lametun${number}`) === undefined) return `lametun${number}`;
}

function withAddresses(stored: StoredNode, { hubAddresses, state }: NodeOptions): StoredNode {
  if (hubAddresses === undefined) return stored;
  const node = { ...stored, hub: { key: stored.hub.key, ...byToken(stored.hub, hubAddresses) } };
  state.write('node', node);
  return node;
}

/** The start of a node. If it fails, everything is undone. */
class Start {
  readonly #options: NodeOptions;
  readonly #crypto = new NodeCrypto();
  readonly #map = new NetworkMap();
  readonly #privateKey: PrivateKey;
  readonly #keyBytes: Uint8Array;
  readonly #warnings: string[] = [];
  #shell: NodeShell | undefined;

  constructor(options: NodeOptions) {
    this.#options = options;
    const make = (): Uint8Array => Uint8Array.from(randomBytes(32));
    this.#keyBytes = options.state.privateKey(options.join === undefined ? undefined : make);
    this.#privateKey = this.#crypto.privateKey(this.#keyBytes);
  }

  async resume(stored: StoredNode): Promise<RunningNode> {
    const { state } = this.#options;
    try {
      const map = state.read('map');
      if (map !== undefined) this.#map.applyMap(map);
    } catch (error) {
      this.#warnings.push(`${(error as Error).message}; this node asks the hub for the whole network map`);
    }
    const hub = this.#hub(stored.hub.key, searched(stored.hub), { network: stored.network.id });
    hub.start();
    const starting = this.#device(stored.interface, stored.network.mtu, stored.port);
    return this.#orUndo(hub, starting, async (device) => {
      const node = { ...stored, port: device.port };
      if (device.port !== stored.port) state.write('node', node);
      return node;
    });
  }

  async join(wish: NonNullable<NodeOptions['join']>): Promise<RunningNode> {
    const { token, name, shares } = wish;
    checkShares(wish.interface, shares, []);
    const starting = this.#device(wish.interface, FIRST_MTU, 0);
    let shown: NetworkInfo | undefined;
    const check = async (network: NetworkInfo): Promise<void> => {
      await starting; // a machine that cannot be a node must not become a member
      const hubs = token.addresses.flatMap(({ host }) => parseAddress(host) ?? []);
      const routing = localRouting(wish.interface);
      checkNetwork(network, { routing, hubs, hosts: nameServers(), shares });
      shown = network;
    };
    const hubKey = Buffer.from(token.hub).toString('base64');
    const hub = this.#hub(hubKey, token.addresses, { join: { secret: token.secret, name, shares } });
    const joined = hub.join(check, this.#options.signal);
    joined.catch(() => {}); // it may fail before the interface is up; it is awaited then
    hub.start();
    return this.#orUndo(hub, starting, async (device) => {
      const { network, you } = await joined;
      checkMembership(shown, network, you);
      const known = { key: hubKey, ...byToken(undefined, token.addresses) };
      const node: StoredNode = {
        network,
        you,
        hub: known,
        port: device.port,
        interface: wish.interface,
        shares,
      };
      this.#options.state.write('node', node);
      if (network.mtu !== FIRST_MTU) device.link.setMtu(network.mtu);
      return node;
    });
  }

  async #orUndo(
    hub: HubDriver,
    starting: Promise<CreatedInterface>,
    toNode: (device: CreatedInterface) => Promise<StoredNode>,
  ): Promise<RunningNode> {
    let device: CreatedInterface | undefined;
    try {
      device = await starting;
      const node = await toNode(device);
      const { state, log, join } = this.#options;
      const shell = new NodeShell({
        ...{ state, log, crypto: this.#crypto, privateKey: this.#privateKey, device, node },
        ...{ ...hub.handOver(), map: this.#map, warnings: this.#warnings, wished: join?.name },
      });
      this.#shell = shell;
      await shell.start();
      // New users try the names of other members at once.
      if (join !== undefined)
        await Promise.race([shell.introduced, sleep(INTRODUCTION, undefined, { ref: false })]);
      return shell;
    } catch (error) {
      hub.close();
      await device?.close();
      this.#privateKey.destroy();
      throw error;
    } finally {
      this.#keyBytes.fill(0);
    }
  }

  #hub(hubKey: string, addresses: Token['addresses'], member: HubClientOptions['member']): HubDriver {
    return new HubDriver({
      ...{ crypto: this.#crypto, privateKey: this.#privateKey, program: this.#options.program },
      ...{ hubKey: new Uint8Array(Buffer.from(hubKey, 'base64')), addresses, map: this.#map, member },
    });
  }

  async #device(name: string, mtu: number, port: number): Promise<CreatedInterface> {
    const start = (port: number): Promise<CreatedInterface> =>
      createInterface({
        ...{ name, mtu, port, log: this.#options.log, paths: 'owner', uapi: 'if-possible' },
        privateKey: Uint8Array.from(this.#keyBytes),
        sideChannel: (bytes, from) => this.#shell?.handleSideChannel(bytes, from),
      });
    try {
      return await start(port);
    } catch (error) {
      if (port === 0 || !(error instanceof LinuxError) || error.errno !== ERRNO.EADDRINUSE) throw error;
      this.#warnings.push(`Another program uses UDP port ${port}: this node now uses another port`);
      return start(0);
    }
  }
}

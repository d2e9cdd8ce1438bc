import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { NodeCrypto } from '../../crypto/node-crypto.js';
import { type CreatedInterface, createInterface } from '../../device/running-interface.js';
import { usage } from '../../errors.js';
import { parseAddress } from '../../ip/address.js';
import { parseCidr } from '../../ip/cidr.js';
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
import { rangeObstacles } from '../machine/range-obstacles.js';
import { localRoutes, parseShare } from '../machine/ranges.js';
import type { StoredNode } from '../machine/stored.js';
import { HubDriver } from './hub-driver.js';
import { localRouting } from './local-routing.js';
import { NodeShell } from './node-shell.js';
import type { StateDirectory } from './state.js';

export interface NodeOptions {
  /** Locked by the caller, who also gives it back. */
  readonly state: StateDirectory;
  readonly log: Log;
  /** `lametun 0.1.0` */
  readonly program: string;
  /** Becomes a member first. The rest is for that only; later it is as it was then. */
  readonly join?: {
    readonly token: Token;
    /** A DNS label; the hub may append a number. */
    readonly name: string;
    /** Networks to offer: `192.168.1.0/24`. */
    readonly shares: readonly string[];
    /** Of the network interface. */
    readonly device: string;
    /** The UDP port; any if not given. */
    readonly port?: number | undefined;
  };
  /** Of a member: where its hub is, as is known by now. */
  readonly hubAddresses?: readonly HubAddress[] | undefined;
  /** Ends the waiting for a hub that is to be joined: `startNode` rejects then. */
  readonly signal?: AbortSignal | undefined;
  /** Names for the machine's programs; yes if not given. */
  readonly names?: boolean | undefined;
}

/** How long a new member waits to be told who else there is, milliseconds; the hub answers in tens of them. */
const INTRODUCTION = 1_000;

/** Bytes, until it is known what the network's is. */
const FIRST_MTU = 1280;

/**
 * Starts a node from its state directory; with `join`, makes this machine a member first. Resolves when its device is up:
 * the hub may be away then, except for joining. Belongs to the network namespace of the calling thread.
 *
 * @throws LametunError when it cannot start, or join: nothing is left behind then, but what was joined is kept
 */
export async function startNode(options: NodeOptions): Promise<RunningNode> {
  const { state, join } = options;
  const stored = state.readNode();
  if (join !== undefined && stored !== undefined)
    throw usage(
      `this machine is ${stored.you.name} of the network ${stored.network.name} already: \`lametun up\` starts it, \`lametun leave\` ends that`,
    );
  if (join !== undefined) return new Start(options).join(join);
  if (stored === undefined)
    throw usage(`${state.path} has no node: begin with \`lametun join TOKEN\` or \`lametun serve\``);
  return new Start(options).resume(withAddresses(stored, options));
}

/**
 * Checks what a new member shall share, as `startNode` does before it asks the hub for anything, and the range of a
 * network that is to be made for it.
 *
 * @param device the network interface that it will have, whose routes do not count
 * @throws LametunError `usage` when a share is no network, or not reached from here, or the range is in use
 */
export function checkPlace(device: string, shares: readonly string[], range?: string): void {
  if (shares.length === 0 && range === undefined) return;
  const routing = localRouting(device);
  const ranges = range === undefined ? [] : [parseCidr(range)!];
  for (const share of shares) parseShare(share, localRoutes(routing), ranges);
  const [why] = rangeObstacles(ranges, routing).refusals;
  if (why !== undefined) throw usage(`--range ${range}: ${why}; choose another range`);
}

/**
 * Checks networks that a member shall share, as `startNode` does before it asks the hub for anything.
 *
 * @param device the network interface that it will have, whose routes do not count
 * @param network that it is a member of
 * @throws LametunError `usage` when one is no network, or not reached from here
 */
export function checkShares(
  device: string,
  shares: readonly string[],
  network: Pick<NetworkInfo, 'ipv4' | 'ipv6'>,
): void {
  const routes = localRoutes(localRouting(device));
  const ranges = [network.ipv4, network.ipv6].flatMap((r) => parseCidr(r) ?? []);
  for (const share of shares) parseShare(share, routes, ranges);
}

/** The first of lametun0, lametun1, ... that no interface has: another network of this machine may have the others. */
export function freeDevice(): string {
  for (let number = 0; ; number++) if (findLink(`lametun${number}`) === undefined) return `lametun${number}`;
}

function withAddresses(stored: StoredNode, { hubAddresses, state }: NodeOptions): StoredNode {
  if (hubAddresses === undefined) return stored;
  const node = { ...stored, hub: { key: stored.hub.key, ...byToken(stored.hub, hubAddresses) } };
  state.write('node', node);
  return node;
}

/** A node on its way up. What it makes is undone if it does not get there. */
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
      const map = state.readMap();
      if (map !== undefined) this.#map.applyMap(map);
    } catch (error) {
      this.#warnings.push(`${(error as Error).message}; the hub is asked for all of it`); // it has it
    }
    const hub = this.#hub(stored.hub.key, searched(stored.hub), { network: stored.network.id });
    hub.start();
    const starting = this.#device(stored.device, stored.network.mtu, stored.port);
    return this.#orUndo(hub, starting, async (device) => {
      const node = { ...stored, port: device.port };
      if (device.port !== stored.port) state.write('node', node);
      return node;
    });
  }

  async join(wish: NonNullable<NodeOptions['join']>): Promise<RunningNode> {
    const { token, name, shares } = wish;
    checkPlace(wish.device, shares);
    const starting = this.#device(wish.device, FIRST_MTU, wish.port ?? 0);
    let looked: NetworkInfo | undefined;
    const check = async (network: NetworkInfo): Promise<void> => {
      await starting; // what cannot be a node is not to become a member
      const hubs = token.addresses.flatMap(({ host }) => parseAddress(host) ?? []);
      const routing = localRouting(wish.device);
      checkNetwork(network, { routing, hubs, hosts: nameServers(), shares });
      looked = network;
    };
    const hubKey = Buffer.from(token.hub).toString('base64');
    const hub = this.#hub(hubKey, token.addresses, { join: { secret: token.secret, name, shares } });
    const joined = hub.join(check, this.#options.signal);
    joined.catch(() => {}); // it may fail before the device is there, and is looked at then
    hub.start();
    return this.#orUndo(hub, starting, async (device) => {
      const { network, you } = await joined;
      checkMembership(looked, network, you);
      const known = { key: hubKey, ...byToken(undefined, token.addresses) };
      const node: StoredNode = { network, you, hub: known, port: device.port, device: wish.device, shares };
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
      const { state, log, names = true, join } = this.#options;
      const shell = new NodeShell({
        ...{ state, log, names, crypto: this.#crypto, privateKey: this.#privateKey, device, node },
        ...{ ...hub.handOver(), map: this.#map, warnings: this.#warnings, wished: join?.name },
      });
      this.#shell = shell;
      await shell.start();
      // Whoever joins looks for the others at once, by name.
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
      this.#warnings.push(`Another program has UDP port ${port}: another port is used from now on`);
      return start(0);
    }
  }
}

import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { NodeCrypto } from '../../crypto/node-crypto.js';
import { type RunningDevice, startDevice } from '../../device/running-device.js';
import { LametunError } from '../../errors.js';
import { parseAddress } from '../../ip/address.js';
import { parseCidr } from '../../ip/cidr.js';
import { ERRNO, LinuxError } from '../../linux/ffi/errno.js';
import { findLink } from '../../linux/net/link.js';
import { nameServers } from '../../linux/net/name-servers.js';
import type { Log } from '../../log.js';
import { NetworkMap, NO_VERSION } from '../../protocol/map.js';
import type { NetworkInfo } from '../../protocol/messages.js';
import type { HubAddress, Token } from '../../protocol/token.js';
import type { PrivateKey } from '../../wireguard/crypto.js';
import { HubClient, type HubEvent } from '../machine/hub/hub-client.js';
import type { HubFailure } from '../machine/hub/hub-failure.js';
import type { Member } from '../machine/hub/hub-session.js';
import { byToken, searched } from '../machine/hub-addresses.js';
import { checkMembership, checkNetwork } from '../machine/join-checks.js';
import { rangeObstacles } from '../machine/range-obstacles.js';
import { localRoutes, localRouting, parseShare } from '../machine/ranges.js';
import { Network } from './network.js';
import type { RunningNode } from './running-node.js';
import type { StateDirectory, StoredNode } from './state.js';

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
    throw new LametunError(
      'usage',
      `this machine is ${stored.you.name} of the network ${stored.network.name} already: \`lametun up\` starts it, \`lametun leave\` ends that`,
    );
  if (join !== undefined) return new Start(options).join(join);
  if (stored === undefined)
    throw new LametunError(
      'usage',
      `${state.path} has no node: begin with \`lametun join TOKEN\` or \`lametun serve\``,
    );
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
  if (why !== undefined) throw new LametunError('usage', `--range ${range}: ${why}; choose another range`);
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
  state.writeNode(node);
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
  #network: Network | undefined;
  /** What the hub said before there was somebody to hear it. */
  readonly #early: HubEvent[] = [];
  #onEarly: (event: HubEvent) => void = () => {};

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
      // The lametun before the one that keeps names did not believe that anybody is called something else.
      if (map !== undefined) this.#map.applyMap(state.hasNames() ? map : { ...map, version: NO_VERSION });
    } catch (error) {
      this.#warnings.push(`${(error as Error).message}; the hub is asked for all of it`); // it has it
    }
    const member = { network: stored.network.id };
    const client = this.#client(stored.hub.key, searched(stored.hub), member);
    client.start();
    const starting = this.#device(stored.device, stored.network.mtu, stored.port);
    return this.#orUndo(client, starting, async (device) => {
      const node = { ...stored, port: device.port };
      if (device.port !== stored.port) state.writeNode(node);
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
    const wanted = { join: { secret: token.secret, name, shares } };
    const client = this.#client(hubKey, token.addresses, wanted, check);
    const joined = this.#joined();
    joined.catch(() => {}); // it may fail before the device is there, and is looked at then
    client.start();
    return this.#orUndo(client, starting, async (device) => {
      const { network, you } = await joined;
      checkMembership(looked, network, you);
      const hub = { key: hubKey, ...byToken(undefined, token.addresses) };
      const node: StoredNode = { network, you, hub, port: device.port, device: wish.device, shares };
      this.#options.state.writeNode(node);
      if (network.mtu !== FIRST_MTU) device.link.setMtu(network.mtu);
      return node;
    });
  }

  /** Resolves when this machine is a member. */
  #joined(): Promise<Extract<HubEvent, { kind: 'joined' }>> {
    const { signal } = this.#options;
    return new Promise((resolve, reject) => {
      const stop = (): void => reject(new LametunError('unreachable', 'stopped before the hub had answered'));
      signal?.addEventListener('abort', stop, { once: true });
      if (signal?.aborted) stop();
      this.#onEarly = (event) => {
        if (event.kind === 'joined') resolve(event);
        else if (event.kind === 'removed') reject(event.failure);
        else if (event.kind === 'disconnected' && event.retryIn === undefined)
          reject(explained(event.failure));
      };
    });
  }

  async #orUndo(
    client: HubClient,
    starting: Promise<RunningDevice>,
    toNode: (device: RunningDevice) => Promise<StoredNode>,
  ): Promise<RunningNode> {
    let device: RunningDevice | undefined;
    try {
      device = await starting;
      const node = await toNode(device);
      this.#network = await Network.start({
        ...{ state: this.#options.state, log: this.#options.log, names: this.#options.names ?? true },
        ...{ crypto: this.#crypto, privateKey: this.#privateKey },
        ...{
          device,
          client,
          map: this.#map,
          node,
          warnings: this.#warnings,
          wished: this.#options.join?.name,
        },
      });
      for (const event of this.#early.splice(0)) this.#network.handleHub(event);
      // Whoever joins looks for the others at once, by name.
      if (this.#options.join !== undefined)
        await Promise.race([this.#network.introduced, sleep(INTRODUCTION, undefined, { ref: false })]);
      return this.#network;
    } catch (error) {
      client.close();
      await device?.close();
      this.#privateKey.destroy();
      throw error;
    } finally {
      this.#keyBytes.fill(0);
    }
  }

  #client(
    hubKey: string,
    addresses: Token['addresses'],
    member: Member,
    check?: (network: NetworkInfo) => Promise<void>,
  ): HubClient {
    return new HubClient({
      ...{ crypto: this.#crypto, privateKey: this.#privateKey, program: this.#options.program },
      ...{ hubKey: new Uint8Array(Buffer.from(hubKey, 'base64')), addresses, map: this.#map, member, check },
      onEvent: (event) => this.#handle(event),
    });
  }

  #handle(event: HubEvent): void {
    if (this.#network !== undefined) {
      this.#network.handleHub(event);
      return;
    }
    this.#onEarly(event);
    // A frame is good only now, and nobody waits for it yet.
    if (event.kind !== 'frame') this.#early.push(event);
  }

  async #device(name: string, mtu: number, port: number): Promise<RunningDevice> {
    const start = (port: number): Promise<RunningDevice> =>
      startDevice({
        ...{ name, mtu, port, log: this.#options.log, paths: 'owner', uapi: 'if-possible' },
        privateKey: Uint8Array.from(this.#keyBytes),
        beside: (bytes, from) => this.#network?.handleBeside(bytes, from),
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

/** The hub's addresses alone, each with what is wrong with it, say nothing to who has pasted a token. */
function explained(failure: HubFailure): Error {
  if (failure.kind !== 'unreachable') return failure;
  return new LametunError('unreachable', `the hub cannot be reached: ${failure.message}`, { cause: failure });
}

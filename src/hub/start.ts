import { createHash, randomBytes, randomFillSync } from 'node:crypto';
import { NodeCrypto } from '../crypto/node-crypto.js';
import { deferred } from '../deferred.js';
import { LametunError } from '../errors.js';
import { type Cidr, formatCidr, parseCidr } from '../ip/cidr.js';
import { nameServers } from '../linux/net/name-servers.js';
import { listAllRoutes, RTN } from '../linux/net/route.js';
import { listRules } from '../linux/net/rule.js';
import { systemWallClock } from '../linux/process/clock.js';
import type { AdminAnswer, AdminRequest, NetworkInfo } from '../protocol/messages.js';
import type { NodeId } from '../protocol/node-id.js';
import { formatToken, type HubAddress } from '../protocol/token.js';
import { welcome } from '../protocol/versions.js';
import { UndoStack } from '../undo.js';
import { contradiction } from './fixed-settings.js';
import { Hub, type Waiting } from './machine/hub.js';
import type { GuestRates } from './machine/limits.js';
import type { Scheduler } from './machine/scheduler.js';
import { PRUNE_INTERVAL } from './membership/prune.js';
import { chooseRange } from './membership/ranges.js';
import { type HubStorage, type OwnNetwork, type OwnNetworkOptions, openOwnNetwork } from './own-network.js';
import type { RelayCounters } from './relay/counters.js';
import { Relay } from './relay/relay.js';
import { tokenAddresses } from './server/public-addresses.js';
import { unresolvedNames } from './server/public-names.js';
import { HubServer, type ServerCounters, whyNoPort } from './server/server.js';
import { backup } from './store/backup.js';

export interface HubStart
  extends HubStorage,
    Pick<OwnNetworkOptions, 'ask' | 'existing' | 'newNetwork' | 'signal'> {
  /** A DNS label; `home` for a new network. */
  readonly network?: string | undefined;
  /** Bytes, for a new network; default 1280. */
  readonly mtu?: number | undefined;
  /** TCP and UDP; 0 lets the kernel choose. */
  readonly port: number;
  /** The addresses in tokens: `HOST`, `HOST:PORT`, `https://HOST[:PORT]`; if empty, this machine's own. */
  readonly public: readonly string[];
  /** The IPv4 range of a new network (`parseRange`); default: a random /15. */
  readonly range?: string | undefined;
  /** For tests. */
  readonly guests?: GuestRates | undefined;
}

export interface RunningHub {
  /** 32 bytes. */
  readonly publicKey: Uint8Array;
  readonly port: number;
  readonly network: NetworkInfo;
  /** The directory of the old network after `newNetwork`. */
  readonly replaced: string | undefined;
  /** Handles a request of root on this machine. @throws LametunError `refused`, or `unreachable` without the database */
  administer(request: AdminRequest): Promise<AdminAnswer>;
  /** Sets the key of the node on this machine, base64, which is removed only with force. */
  setHost(key: string | undefined): void;
  /** The nodes and shares that are pending. */
  waiting(): readonly Waiting[];
  /** Writes the database to a file. @throws LametunError */
  backup(file: string): Promise<void>;
  status(): HubStatus;
  /** Rejects when the hub cannot continue; resolves after `close`. */
  readonly ended: Promise<void>;
  close(): Promise<void>;
}

export interface HubStatus {
  readonly members: number;
  readonly online: number;
  readonly connections: ServerCounters;
  readonly relay: RelayCounters;
}

const scheduler: Scheduler = {
  now: () => performance.now(),
  soon: (fn) => void setImmediate(fn),
  later: (fn, milliseconds) => void setTimeout(fn, milliseconds).unref(),
};

/** How often this machine's addresses are checked, milliseconds. */
const ADDRESS_INTERVAL = 5_000;
const DEFAULT_NETWORK = 'home';
/** How often the clock is checked, milliseconds. */
const CLOCK_INTERVAL = 1_000;
/** How many ports to try to find one that is free for TCP and UDP. */
const PORT_TRIES = 10;

/**
 * Starts a hub. When this returns, nodes can join.
 *
 * @throws LametunError `usage` or `busy` that names the unusable port, key file, address or database, and what to do
 */
export async function startHub(options: HubStart): Promise<RunningHub> {
  const crypto = new NodeCrypto();
  if (options.public.length > 0) tokenAddresses(options.public, options.port || 1); // reports errors before anything is made
  const clock = systemWallClock();
  const { privateKey, registry, replaced } = await openNetwork(options, crypto, () => clock.now());
  const { store } = registry;
  const undo = new UndoStack();
  undo.push(
    () => privateKey.destroy(),
    () => store.close(),
  );
  try {
    const end = deferred<void>();
    end.promise.catch(() => {}); // the caller handles it
    const inside = [registry.info.ipv4, registry.info.ipv6].map((range) => parseCidr(range)!);
    registry.onReplaced = () =>
      end.reject(
        new LametunError('state', 'a backup was restored while the hub was running: start the hub again'),
      );

    const hub: Hub = new Hub({
      registry,
      relay: {
        attach,
        detach: (node) => relay.detach(node),
        fromChannel: (...frame) => relay.fromChannel(...frame),
      },
      log: options.log,
      guests: options.guests,
      addresses: () => presentAddresses(options, server.port, inside),
      clock: () => clock.now(),
      scheduler,
      random: randomBytes,
      hash: (bytes) => createHash('sha256').update(bytes).digest('hex'),
      makeToken: async (secret) => {
        const { addresses, warnings } = tokenAddresses(options.public, server.port, undefined, inside);
        const token = formatToken({ hub: privateKey.publicKey.bytes, secret, addresses });
        const unresolved = await unresolvedNames(addresses);
        return { token, addresses: addresses.map(formatHubAddress), warnings: [...warnings, ...unresolved] };
      },
    });
    let isMoving = false;
    const { server, relay } = await listen();
    const timers = [
      setInterval(forget, PRUNE_INTERVAL),
      setInterval(followClock, CLOCK_INTERVAL),
      setInterval(() => hub.tellAddresses(), ADDRESS_INTERVAL),
    ];
    for (const timer of timers) timer.unref();
    undo.push(() => {
      for (const timer of timers) clearInterval(timer);
    });
    hub.tellAddresses();
    forget();
    void unresolvedNames(presentAddresses(options, server.port, inside)).then((warnings) => {
      for (const warning of warnings) options.log.error(`Warning: ${warning}`);
    });
    options.log.verbose(`The hub of network ${registry.info.name} listens on port ${server.port}`);
    return {
      publicKey: privateKey.publicKey.bytes,
      port: server.port,
      network: registry.info,
      replaced,
      administer: (request) => hub.administer(request),
      setHost: (key) => {
        hub.hostKey = key;
      },
      waiting: () => hub.waiting(),
      backup: (file) => backup(store, file, options.program),
      status: () => ({
        members: registry.members.count,
        online: hub.online,
        connections: server.counters(),
        relay: relay.counters(),
      }),
      ended: end.promise,
      close: async () => {
        await undo.undo();
        end.resolve();
      },
    };

    /** Until the stored times are shifted, the hub uses the old clock. */
    function followClock(): void {
      const step = clock.step();
      if (step === undefined || isMoving) return;
      isMoving = true;
      registry
        .change(({ tables }) => tables.moveTimes(step))
        .then(
          () => clock.adopt(step),
          (error: Error) =>
            options.log.verbose(`The clock was set, but stored times are not yet shifted: ${error.message}`),
        )
        .finally(() => {
          isMoving = false;
        });
    }

    /** If this fails today, it is tried again tomorrow. */
    function forget(): void {
      registry
        .prune()
        .catch((error: Error) =>
          options.log.verbose(`Old nodes and invitations are not yet deleted: ${error.message}`),
        );
    }

    function attach(node: NodeId): { port: number; session: string; key: string } {
      const { session, key } = relay.attach(node);
      const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64');
      return { port: relay.port, session: text(session), key: text(key) };
    }

    /** The relay first: waiting nodes attach as soon as the server listens. */
    async function listen(): Promise<{ server: HubServer; relay: Relay }> {
      for (let tries = 1; ; tries++) {
        const relay = await startRelay();
        try {
          const server = await HubServer.listen({
            port: relay.port,
            crypto,
            privateKey,
            answer: (hello) => welcome(hello, options.program ?? 'lametun'),
            events: {
              message: (client, message) => hub.handle(client, message),
              frame: (client, to, datagram) => hub.frame(client, to, datagram),
              closed: (client) => hub.closed(client),
            },
          });
          undo.push(
            () => relay.close(),
            () => server.close(),
          );
          return { server, relay };
        } catch (error) {
          await relay.close();
          const isTaken = (error as { cause?: { code?: string } }).cause?.code === 'EADDRINUSE';
          if (!isTaken || options.port !== 0 || tries === PORT_TRIES) throw error;
        }
      }
    }

    async function startRelay(): Promise<Relay> {
      try {
        return await Relay.start({
          port: options.port,
          onFrame: (to, from, datagram) => hub.deliver(to, from, datagram),
          onFailed: end.reject,
        });
      } catch (error) {
        if ((error as { errno?: number }).errno !== EADDRINUSE) throw error;
        throw whyNoPort({ ...(error as Error), code: 'EADDRINUSE' }, options.port, 'UDP');
      }
    }
  } catch (error) {
    await undo.undo();
    throw error;
  }
}

const EADDRINUSE = 98; // asm-generic/errno.h

async function openNetwork(options: HubStart, crypto: NodeCrypto, clock: () => number): Promise<OwnNetwork> {
  const opened = await openOwnNetwork({
    ...options,
    crypto,
    clock,
    network: {
      name: options.network ?? DEFAULT_NETWORK,
      ranges: () => freeRanges(options.range),
      mtu: options.mtu,
    },
  });
  const problem = contradiction(options, opened.registry.info);
  if (problem === undefined) return opened;
  await opened.registry.store.close();
  opened.privateKey.destroy();
  throw new LametunError('usage', problem);
}

/** The addresses for a token now; none while this machine has no network. */
function presentAddresses(
  { public: given }: HubStart,
  port: number,
  inside: readonly Cidr[],
): readonly HubAddress[] {
  try {
    return tokenAddresses(given, port, undefined, inside).addresses;
  } catch {
    return [];
  }
}

/** @throws LametunError `missing` when the routes of this machine leave no range free */
function freeRanges(wanted: string | undefined): { readonly ipv4: string; readonly ipv6: string } {
  const routes = listAllRoutes().filter(({ type }) => type === RTN.unicast || type === RTN.local);
  const hosts = [...routes.flatMap(({ gateway }) => gateway ?? []), ...nameServers()];
  const taken = [
    ...routes.map(({ destination }) => destination),
    ...hosts.map((address) => ({ address, prefix: address.length * 8 })),
    ...listRules().flatMap(({ to, from }) => [to ?? [], from ?? []].flat()),
  ];
  const given = wanted === undefined ? undefined : parseCidr(wanted);
  const { ipv4, ipv6 } = chooseRange(taken, (out) => void randomFillSync(out), given);
  return { ipv4: formatCidr(ipv4), ipv6: formatCidr(ipv6) };
}

const formatHubAddress = ({ host, port, tls }: { host: string; port: number; tls: boolean }): string =>
  `${tls ? 'https://' : ''}${host.includes(':') ? `[${host}]` : host}:${port}`;

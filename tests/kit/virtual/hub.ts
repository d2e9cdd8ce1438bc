import { createHash } from 'node:crypto';
import { Hub, type RelayPort } from '../../../src/hub/machine/hub.js';
import type { Scheduler } from '../../../src/hub/machine/scheduler.js';
import { Sessions } from '../../../src/hub/machine/sessions.js';
import { Registry } from '../../../src/hub/membership/registry.js';
import type { Store } from '../../../src/hub/membership/tables.js';
import type { Log } from '../../../src/log.js';
import { encodeBase64 } from '../../../src/protocol/text.js';
import { formatToken, type HubAddress } from '../../../src/protocol/token.js';
import { welcome } from '../../../src/protocol/versions.js';
import type { Crypto, PrivateKey } from '../../../src/wireguard/crypto.js';
import { FakeCrypto } from '../fake-crypto.js';
import { MemoryStore } from '../memory-store.js';
import { SeededRandom } from '../random.js';
import { VirtualScheduler } from './scheduler.js';

export interface VirtualHubOptions {
  /** All that is random follows from it. */
  readonly random?: SeededRandom;
  readonly scheduler?: Scheduler;
  readonly crypto?: Crypto;
  readonly privateKey?: PrivateKey;
  /** What an earlier hub kept. */
  readonly store?: Store;
  readonly relay?: RelayPort;
  readonly addresses?: () => readonly HubAddress[];
  /** Require approval for each new node. */
  readonly ask?: boolean;
  /** The protocol versions of the hub; default: those of the product. */
  readonly speaks?: readonly number[] | undefined;
}

const SILENT: Log = { isVerbose: false, verbose: () => {}, error: () => {} };
const NO_RELAY: RelayPort = {
  attach: () => ({ port: 1, session: 'AAAAAAAAAAA=', key: `${'A'.repeat(43)}=` }),
  detach: () => {},
  fromChannel: () => {},
};

/**
 * A real hub without I/O: its store is in memory, its time is a scheduler's, and everything random has a seed. A network
 * carries messages between `sessions.begin(carrier, ...)` and nodes, calls `check` every second, and awaits `settled()` after
 * whatever it gave to the hub.
 */
export class VirtualHub {
  readonly privateKey: PrivateKey;
  readonly store: Store;
  readonly registry: Registry;
  readonly hub: Hub;
  readonly sessions: Sessions;
  /** The protocol version of each connection so far. */
  readonly agreed: (number | undefined)[] = [];

  private constructor(
    registry: Registry,
    {
      crypto,
      random,
      scheduler,
      privateKey,
      relay,
      addresses,
    }: Required<Omit<VirtualHubOptions, 'ask' | 'speaks'>>,
    speaks: readonly number[] | undefined,
  ) {
    this.registry = registry;
    this.store = registry.store;
    this.privateKey = privateKey;
    const bytes = (count: number): Uint8Array => {
      const out = new Uint8Array(count);
      random.fill(out);
      return out;
    };
    this.hub = new Hub({
      registry,
      relay,
      addresses,
      log: SILENT,
      clock: () => EPOCH + scheduler.now(),
      scheduler,
      random: bytes,
      hash: (secret) => createHash('sha256').update(secret).digest('hex'),
      makeToken: async (secret) => ({
        token: formatToken({ hub: privateKey.publicKey.bytes, secret, addresses: addresses() }),
        ...{ addresses: [], warnings: [] },
      }),
    });
    this.sessions = new Sessions({
      crypto,
      privateKey,
      answer: (hello) => {
        const answer = welcome(hello, 'virtual hub', speaks);
        this.agreed.push('refused' in answer ? undefined : answer.protocol);
        return answer;
      },
      events: {
        message: (session, message) => this.hub.handle(session, message),
        frame: (session, to, datagram) => this.hub.frame(session, to, datagram),
        closed: (session) => this.hub.closed(session),
      },
    });
    this.hub.tellAddresses();
  }

  static async start(options: VirtualHubOptions = {}): Promise<VirtualHub> {
    const { random = new SeededRandom(1), scheduler = new VirtualScheduler() } = options;
    const { crypto = new FakeCrypto(random), store = new MemoryStore() } = options;
    const { privateKey = crypto.generate(), relay = NO_RELAY, addresses = () => [HUB_ADDRESS] } = options;
    const registry = await Registry.open(store, {
      network: { name: 'home', ranges: () => ({ ipv4: '10.77.0.0/16', ipv6: 'fd77::/64' }) },
      ask: options.ask,
      hubKey: encodeBase64(privateKey.publicKey.bytes),
      clock: () => EPOCH + scheduler.now(),
      randomId: (count) =>
        Array.from({ length: count }, () => random.below(256).toString(16).padStart(2, '0')).join(''),
    });
    const own = { crypto, random, scheduler, privateKey, store, relay, addresses };
    return new VirtualHub(registry, own, options.speaks);
  }
}

/** The time of day at the scheduler's 0. */
export const EPOCH = Date.UTC(2027, 0, 1);
const HUB_ADDRESS: HubAddress = { host: '192.0.2.1', port: 443, tls: false };

/** Resolves when everything that waits for nothing but other promises has gone on: a hub with a store in memory is idle. */
export const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

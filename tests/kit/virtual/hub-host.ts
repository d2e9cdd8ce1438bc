import type { Carrier } from '../../../src/hub/machine/session.js';
import type { Registry } from '../../../src/hub/membership/registry.js';
import type { Endpoint } from '../../../src/ip/endpoint.js';
import type { AdminAnswers, AdminRequest } from '../../../src/protocol/messages.js';
import type { Crypto, PrivateKey } from '../../../src/wireguard/crypto.js';
import { MemoryStore } from '../memory-store.js';
import type { SeededRandom } from '../random.js';
import type { Agenda } from './agenda.js';
import { VirtualHub } from './hub.js';
import type { ConnectionEnd, ConnectionHandlers, Host, Internet, Site } from './internet.js';
import { VirtualRelay } from './relay.js';

export const HUB_PORT = 443;
/** How often a hub checks who is still there, milliseconds: as `server.ts` does. */
const CHECK_INTERVAL = 1_000;

export interface HubHostOptions {
  readonly internet: Internet;
  readonly agenda: Agenda;
  readonly random: SeededRandom;
  readonly crypto: Crypto;
  readonly site: Site;
  readonly address: Uint8Array;
  /** Whether an administrator approves each node. */
  readonly ask: boolean;
}

/** A hub with its relay on a host: the product's machine, a store in memory that outlives the process, and a small relay. */
export class HubHost implements Host {
  readonly site: Site;
  readonly address: Uint8Array;
  readonly store = new MemoryStore();
  isDown = false;
  readonly #options: HubHostOptions;
  readonly #key: PrivateKey;
  /** Ends what belongs to an earlier process. */
  #process = 0;
  #hub: VirtualHub | undefined;
  readonly #ends = new Set<ConnectionEnd>();
  #relay: VirtualRelay | undefined;
  /** Requests that are being worked on; and whether something came that may be one. */
  #pending = 0;
  #isStirred = false;

  constructor(options: HubHostOptions, key: PrivateKey) {
    this.#options = options;
    this.#key = key;
    this.site = options.site;
    this.address = options.address;
    options.internet.hosts.add(this);
  }

  get publicKey(): Uint8Array {
    return this.#key.publicKey.bytes;
  }

  get isRunning(): boolean {
    return this.#hub !== undefined;
  }

  /** Waits until the promises of this hub are settled: all that they wait for are other promises. */
  async rest(): Promise<void> {
    while (this.#isStirred || this.#pending > 0) {
      this.#isStirred = false;
      await new Promise(setImmediate);
    }
  }

  get registry(): Registry {
    return this.#hub!.registry;
  }

  async start(): Promise<void> {
    const { agenda, random, ask, crypto, internet } = this.#options;
    const process = ++this.#process;
    const unlessOver = (run: () => void) => (): void => {
      if (process === this.#process) run();
    };
    const relay = new VirtualRelay({
      ...{ crypto, random, port: HUB_PORT },
      send: (bytes, to) => internet.send(this, HUB_PORT, bytes, to),
      deliver: (to, from, datagram) => this.#hub?.hub.deliver(to, from, datagram),
    });
    const scheduler = {
      now: () => agenda.now,
      soon: (run: () => void) => agenda.after(0, unlessOver(run)),
      later: (run: () => void, milliseconds: number) => agenda.after(milliseconds, unlessOver(run)),
    };
    const { store } = this;
    const addresses = () => [{ host: '203.0.113.1', port: HUB_PORT, tls: false }];
    const own = { random, crypto, privateKey: this.#key, store, relay, scheduler, addresses, ask };
    const hub = await VirtualHub.start(own);
    this.#relay = relay;
    this.#hub = hub;
    const check = (): void => {
      hub.sessions.check(agenda.now);
      agenda.after(CHECK_INTERVAL, unlessOver(check));
    };
    check();
  }

  /** The process ends. @param isKilled without a word; else nodes are told that the hub stops */
  stop(isKilled: boolean): void {
    this.#process++;
    this.#hub = undefined;
    this.#relay = undefined;
    for (const end of this.#ends) end.close(isKilled ? 1006 : 1001);
    this.#ends.clear();
  }

  /** What root asks on the hub's machine. */
  async administer<R extends AdminRequest>(request: R): Promise<AdminAnswers[R['op']]> {
    this.#pending++;
    try {
      return (await this.#hub!.hub.administer(request)) as AdminAnswers[R['op']];
    } finally {
      this.#pending--;
    }
  }

  /** A connection to the hub's port. @returns undefined when nothing listens */
  accept(end: ConnectionEnd): ConnectionHandlers | undefined {
    const hub = this.#hub;
    if (hub === undefined) return undefined;
    const { agenda } = this.#options;
    const carrier: Carrier = {
      pace: { longest: 0, rate: 0, burst: 0, patience: false },
      send: (bytes, taken) => {
        end.send(bytes);
        agenda.after(1, () => taken());
      },
      cork: () => {},
      ping: () => end.ping(),
      close: (code) => end.close(code),
      terminate: () => end.close(1006),
      terminateLater: () => {},
    };
    const session = hub.sessions.begin(carrier, end.remote.address.join('.'), agenda.now);
    this.#ends.add(end);
    return {
      message: (bytes) => {
        this.#isStirred = true;
        session.handle(bytes, agenda.now);
      },
      ping: () => session.heard(agenda.now),
      closed: () => {
        this.#ends.delete(end);
        session.closed();
      },
    };
  }

  receive(bytes: Uint8Array, from: Endpoint): void {
    this.#relay?.receive(bytes, from);
  }
}

import { Hub } from '../../../src/hub/machine/hub.js';
import { type Carrier, Session } from '../../../src/hub/machine/session.js';
import { Registry } from '../../../src/hub/membership/registry.js';
import type { Endpoint } from '../../../src/ip/endpoint.js';
import type { AdminAnswers, AdminRequest } from '../../../src/protocol/messages.js';
import { decodeBase64, encodeBase64 } from '../../../src/protocol/text.js';
import { welcome } from '../../../src/protocol/versions.js';
import type { Crypto, PrivateKey } from '../../../src/wireguard/crypto.js';
import { MemoryStore } from '../memory-store.js';
import type { SeededRandom } from '../random.js';
import type { Agenda } from './agenda.js';
import type { ConnectionEnd, ConnectionHandlers, Host, Internet, Site } from './internet.js';
import { VirtualRelay } from './relay.js';

export const HUB_PORT = 443;
/** How often a hub checks who is still there, milliseconds: as `server.ts` does. */
const CHECK_INTERVAL = 10_000;
/** 1970 is so long ago, milliseconds, when the clock of a virtual network begins. */
export const WALL_OFFSET = 1_700_000_000_000;

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
  #hub: Hub | undefined;
  #registry: Registry | undefined;
  readonly #sessions = new Map<Session, ConnectionEnd>();
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
    return this.#registry!;
  }

  /** Who is connected. */
  get online(): number {
    return this.#hub?.online ?? 0;
  }

  async start(): Promise<void> {
    const { agenda, random, ask, crypto, internet } = this.#options;
    const process = ++this.#process;
    const clock = (): number => WALL_OFFSET + agenda.now;
    const bytes = (length: number): Uint8Array => {
      const out = new Uint8Array(length);
      random.fill(out);
      return out;
    };
    const hex = (length: number): string => Buffer.from(bytes(length)).toString('hex');
    const registry = await Registry.open(this.store, {
      network: { name: 'home', ranges: () => ({ ipv4: '10.77.0.0/16', ipv6: 'fd77::/64' }) },
      ...{ ask, clock, randomId: hex, hubKey: encodeBase64(this.publicKey) },
    });
    const unlessOver = (run: () => void) => (): void => {
      if (process === this.#process) run();
    };
    const relay = new VirtualRelay({
      ...{ crypto, random, port: HUB_PORT },
      send: (bytes, to) => internet.send(this, HUB_PORT, bytes, to),
      deliver: (to, from, datagram) => this.#hub?.deliver(to, from, datagram),
    });
    this.#registry = registry;
    this.#relay = relay;
    this.#hub = new Hub({
      registry,
      clock,
      random: bytes,
      relay,
      log: { isVerbose: false, verbose: () => {}, error: () => {} },
      addresses: () => [{ host: '203.0.113.1', port: HUB_PORT, tls: false }],
      scheduler: {
        now: () => agenda.now,
        soon: (run) => agenda.after(0, unlessOver(run)),
        later: (run, milliseconds) => agenda.after(milliseconds, unlessOver(run)),
      },
      hash: (secret) => Buffer.from(secret).toString('hex'),
      makeToken: async (secret) => ({ token: encodeBase64(secret), addresses: [], warnings: [] }),
    });
    this.#hub.tellAddresses();
    const check = (): void => {
      for (const session of [...this.#sessions.keys()]) session.check(agenda.now);
      agenda.after(CHECK_INTERVAL, unlessOver(check));
    };
    check();
  }

  /** The process ends. @param isKilled without a word; else nodes are told that the hub stops */
  stop(isKilled: boolean): void {
    this.#process++;
    this.#hub = undefined;
    this.#relay = undefined;
    const sessions = [...this.#sessions.values()];
    this.#sessions.clear();
    for (const end of sessions) end.close(isKilled ? 1006 : 1001);
  }

  /** What root asks on the hub's machine. */
  async administer<R extends AdminRequest>(request: R): Promise<AdminAnswers[R['op']]> {
    this.#pending++;
    try {
      return (await this.#hub!.administer(request)) as AdminAnswers[R['op']];
    } finally {
      this.#pending--;
    }
  }

  /** A connection to the hub's port. @returns undefined when nothing listens */
  accept(end: ConnectionEnd): ConnectionHandlers | undefined {
    const hub = this.#hub;
    if (hub === undefined) return undefined;
    const { crypto, agenda } = this.#options;
    const { now } = agenda;
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
    };
    const answer = (hello: Parameters<typeof welcome>[0]) => welcome(hello, 'virtual hub');
    const keys = { crypto, privateKey: this.#key, answer };
    const session = new Session(
      carrier,
      addressOf(end.remote),
      keys,
      {
        opened: () => {},
        admitted: () => {},
        message: (client, message) => this.#handle(hub, client, message),
        frame: (client, to, datagram) => hub.frame(client, to, datagram),
        closed: (client) => {
          this.#sessions.delete(client);
          hub.closed(client);
        },
      },
      now,
    );
    this.#sessions.set(session, end);
    return {
      message: (bytes) => {
        this.#isStirred = true;
        session.handle(bytes, agenda.now);
      },
      ping: () => session.heard(agenda.now),
      closed: () => session.closed(),
    };
  }

  receive(bytes: Uint8Array, from: Endpoint): void {
    this.#relay?.receive(bytes, from);
  }

  async #handle(hub: Hub, ...[client, message]: Parameters<Hub['handle']>): Promise<void> {
    this.#pending++;
    try {
      await hub.handle(client, message);
    } finally {
      this.#pending--;
    }
  }
}

export const addressOf = ({ address }: Host): string => address.join('.');
export const secretOf = (token: string): Uint8Array => decodeBase64(token);

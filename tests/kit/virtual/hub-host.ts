import type { Carrier } from '../../../src/hub/machine/session.js';
import type { Registry } from '../../../src/hub/membership/registry.js';
import { parseAddress } from '../../../src/ip/address.js';
import type { Endpoint } from '../../../src/ip/endpoint.js';
import type { AdminAnswers, AdminRequest } from '../../../src/protocol/messages.js';
import type { HubAddress } from '../../../src/protocol/token.js';
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
  readonly addresses: readonly string[];
  /** Whether an administrator approves each node. */
  readonly ask: boolean;
  readonly speaks?: readonly number[] | undefined;
}

/** A hub with its relay on a host: the product's machine, a store in memory that outlives the process, and a small relay. */
export class HubHost {
  /** Where the hub says that it may be found: it is at one of them at a time. */
  readonly addresses: readonly HubAddress[];
  /** What is on its disk; it outlives the process. */
  store = new MemoryStore();
  /** Its protocol versions from the next start on. */
  speaks: readonly number[] | undefined;
  /** Where it is on the internet now, and since when. */
  host: Host;
  movedAt = Number.NEGATIVE_INFINITY;
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
    this.speaks = options.speaks;
    this.#key = key;
    this.addresses = options.addresses.map((host) => ({ host, port: HUB_PORT, tls: false }));
    this.host = this.#plugIn(options.addresses[0]!);
  }

  /** What a token says: where the hub is when it is made. Members hear of all addresses. */
  get tokenAddresses(): readonly HubAddress[] {
    return this.addresses.filter(({ host }) => host === this.host.address.join('.'));
  }

  /** The host at one of its addresses: where the hub is not, nobody is. */
  at(address: string): Host {
    return this.host.address.join('.') === address ? this.host : { ...this.host, isDown: true };
  }

  /** Its machine has another address now; connections to the old one get no answer. */
  moveTo(address: string): void {
    this.#options.internet.unplug(this.host);
    this.host = this.#plugIn(address);
    this.movedAt = this.#options.agenda.now;
    this.#ends.clear();
  }

  get publicKey(): Uint8Array {
    return this.#key.publicKey.bytes;
  }

  get isRunning(): boolean {
    return this.#hub !== undefined;
  }

  /** Somebody may wait for a promise. */
  stir(): void {
    this.#isStirred = true;
  }

  get isAtRest(): boolean {
    return !this.#isStirred && this.#pending === 0;
  }

  /** Waits until all promises are settled: all that they wait for are other promises. */
  async rest(): Promise<void> {
    while (!this.isAtRest) {
      this.#isStirred = false;
      await new Promise(setImmediate);
    }
  }

  /** The protocol version of each connection so far. */
  get agreed(): readonly (number | undefined)[] {
    return this.#hub!.agreed;
  }

  get registry(): Registry {
    return this.#hub!.registry;
  }

  async start(): Promise<void> {
    const { agenda, random, ask, crypto, internet } = this.#options;
    const process = ++this.#process;
    this.stir();
    const unlessOver = (run: () => void) => (): void => {
      if (process === this.#process) run();
    };
    const relay = new VirtualRelay({
      ...{ crypto, random, port: HUB_PORT },
      send: (bytes, to) => internet.send(this.host, HUB_PORT, bytes, to),
      deliver: (to, from, datagram) => this.#hub?.hub.deliver(to, from, datagram),
    });
    const scheduler = {
      now: () => agenda.now,
      soon: (run: () => void) => agenda.after(0, unlessOver(run)),
      later: (run: () => void, milliseconds: number) => agenda.after(milliseconds, unlessOver(run)),
    };
    const { store, speaks } = this;
    const addresses = () => this.addresses;
    const own = { random, crypto, privateKey: this.#key, store, relay, scheduler, addresses, ask, speaks };
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
    this.stir();
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
        this.stir();
        session.handle(bytes, agenda.now);
      },
      ping: () => session.heard(agenda.now),
      closed: () => {
        this.#ends.delete(end);
        session.closed();
      },
    };
  }

  #plugIn(address: string): Host {
    const { internet, site } = this.#options;
    const receive = (bytes: Uint8Array, from: Endpoint) => this.#relay?.receive(bytes, from);
    const host = { site, address: parseAddress(address)!, isDown: false, receive };
    internet.plugIn(host);
    return host;
  }
}

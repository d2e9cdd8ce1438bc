import { parseToken } from '../../../src/protocol/token.js';
import { FakeCrypto } from '../fake-crypto.js';
import type { NatKind } from '../nat-model.js';
import { SeededRandom } from '../random.js';
import { Agenda } from './agenda.js';
import { HubHost } from './hub-host.js';
import { Internet, type Site } from './internet.js';
import { NodeHost } from './node-host.js';

/** How a site is connected: the routers between its hosts and the internet, from the inside to the outside. */
const ACCESS: readonly (readonly NatKind[])[] = [
  [],
  ['firewall'],
  ['fullCone'],
  ['restricted'],
  ['keepsPorts'],
  ['easy'],
  ['hard'],
  ['plain'],
  ['plain'],
  ['keepsPorts', 'easy'],
  ['keepsPorts', 'hard'],
];

/** Something that happened, for people. */
export interface Happening {
  readonly at: number;
  readonly text: string;
}

/** A hub, nodes at many sites, and what happens to them; everything follows from the seed. */
export class World {
  readonly random: SeededRandom;
  readonly agenda = new Agenda();
  readonly internet: Internet;
  readonly hub: HubHost;
  readonly hubSite: Site;
  readonly sites: Site[] = [];
  readonly nodes: NodeHost[] = [];
  readonly happenings: Happening[] = [];
  readonly #crypto: FakeCrypto;
  #keys = 0;
  #hosts = 0;
  #secret: Uint8Array | undefined;

  /** @param speaks the protocol versions of the hub; default: those of the product */
  constructor(seed: number, { ask = false, speaks }: { ask?: boolean; speaks?: readonly number[] } = {}) {
    this.random = new SeededRandom(seed);
    this.internet = new Internet(this.agenda, this.random);
    this.#crypto = new FakeCrypto(new SeededRandom(seed + 0x9e37));
    this.hubSite = this.internet.site('the hub', undefined, []);
    const { random, agenda, internet } = this;
    const place = { site: this.hubSite, addresses: ['203.0.113.1', '203.0.113.2'] };
    this.hub = new HubHost(
      { ...{ internet, agenda, random, crypto: this.#crypto, ask, speaks }, ...place },
      this.#newKey(),
    );
  }

  /** Begins a network, and makes an invitation for all. */
  async start(): Promise<void> {
    await this.hub.start();
    const invite = {
      op: 'invite',
      expires: 86_400,
      reusable: true,
      uses: 1_000,
      admin: false,
      shares: [],
    } as const;
    this.#secret = parseToken((await this.hub.administer(invite)).token).secret;
  }

  tell(text: string): void {
    this.happenings.push({ at: this.agenda.now, text });
  }

  /** A new place, connected somehow. */
  site(access: readonly NatKind[] = this.random.pick(ACCESS)): Site {
    const number = this.sites.length + 1;
    const isPublic = access.length === 0 || access[0] === 'firewall';
    const wan = isPublic ? undefined : Uint8Array.of(198, 51, 100 + (number >> 8), number & 255);
    const site = this.internet.site(`site ${number} (${access.join(' behind ') || 'public'})`, wan, access);
    this.sites.push(site);
    return site;
  }

  /** A free address at a site. */
  address(site: Site): Uint8Array {
    const number = this.sites.indexOf(site) + 1;
    const host = ++this.#hosts;
    return site.wan === undefined
      ? Uint8Array.of(192, 0, 2 + (host >> 8), host & 255)
      : Uint8Array.of(192, 168, number & 255, 2 + (host % 250));
  }

  /** A machine that is to be a member. @param speaks its protocol versions; default: those of the product */
  node(site: Site, shares: readonly string[] = [], speaks?: readonly number[]): NodeHost {
    const { internet, agenda, hub } = this;
    const name = `n${this.nodes.length + 1}`;
    const tell = (text: string): void => this.tell(text);
    const port = 32_768 + this.random.below(28_000);
    const own = { crypto: this.#crypto, privateKey: this.#newKey(), name, shares, tell, port, speaks };
    const node = new NodeHost({ internet, agenda, hub, ...own }, site, this.address(site));
    this.nodes.push(node);
    return node;
  }

  /** A machine somewhere else that has a copy of a node's state. It counts for nothing but itself. */
  copyOf(node: NodeHost): NodeHost {
    const site = this.site();
    return node.copy(site, this.address(site));
  }

  join(node: NodeHost): void {
    node.start(this.#secret);
  }

  /** Lets time pass. Work that waits for promises is done before the clock moves on. */
  async runUntil(end: number): Promise<void> {
    const { agenda, hub } = this;
    hub.stir();
    await hub.rest();
    while (agenda.next <= end) {
      agenda.step();
      if (!hub.isAtRest) await hub.rest();
    }
    agenda.now = Math.max(agenda.now, end);
  }

  runFor(milliseconds: number): Promise<void> {
    return this.runUntil(this.agenda.now + milliseconds);
  }

  /** Each has another exponent: the toy group is small. */
  #newKey() {
    const number = ++this.#keys * 251;
    const bytes = new Uint8Array(32);
    bytes.set([number >> 8, number & 255]);
    return this.#crypto.privateKey(bytes);
  }
}

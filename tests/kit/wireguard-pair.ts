import type { TestContext } from 'node:test';
import { connect, Namespace } from '../../src/linux/process/namespace.js';
import { type Implementation, type KeyPair, newKey, newPresharedKey, WireGuard } from './wireguard.js';

/** One end of a tunnel, on its own host. */
export interface End {
  readonly host: Namespace;
  readonly implementation: Implementation;
  readonly device: string;
  readonly key: KeyPair;
  /** The addresses outside and inside the tunnel. */
  readonly outer: string;
  readonly inner: { readonly v4: string; readonly v6: string };
  wireguard: WireGuard;
}

export interface PairOptions {
  readonly implementations: readonly [Implementation, Implementation];
  /** The IP version outside the tunnel. */
  readonly outside?: 4 | 6;
  readonly preshared?: boolean;
  /** The value of LAMETUN_OFFLOADS for each end. */
  readonly offloads?: readonly [string | undefined, string | undefined];
  /** The MTU of the tunnel. Default: 1420. */
  readonly mtu?: number;
  /** The MTU of the cable. Default: 1500. */
  readonly outerMtu?: number;
}

/** The UDP port of both ends. */
export const PORT = 51_820;

let pairs = 0;

/**
 * Two hosts on a cable, with a tunnel between them that is up but has sent nothing. Only the first end knows the other's
 * endpoint, so it is the initiator.
 */
export class WireGuardPair {
  readonly first: End;
  readonly second: End;
  readonly #t: Pick<TestContext, 'after'>;
  readonly #presharedKey: string | undefined;
  readonly #outside: 4 | 6;
  readonly #options: PairOptions;

  private constructor(t: Pick<TestContext, 'after'>, first: End, second: End, options: PairOptions) {
    this.#t = t;
    this.first = first;
    this.second = second;
    this.#presharedKey = options.preshared ? newPresharedKey() : undefined;
    this.#outside = options.outside ?? 4;
    this.#options = options;
  }

  static async start(t: Pick<TestContext, 'after'>, options: PairOptions): Promise<WireGuardPair> {
    const prefix = `w${(process.pid % 46_656).toString(36)}x${pairs++}`;
    const names = ['a', 'b'].map((letter) => `${prefix}${letter}`);
    const hosts = Namespace.createAll(names);
    t.after(() => hosts.map((host) => host.remove()));
    const outer = options.outside === 6 ? '2001:db8::' : '192.0.2.';
    const ends = hosts.map(
      (host, i): Omit<End, 'wireguard'> => ({
        host,
        implementation: options.implementations[i]!,
        device: names[i]!,
        key: newKey(),
        outer: `${outer}${i + 1}`,
        inner: { v4: `10.9.0.${i + 1}`, v6: `fd09::${i + 1}` },
      }),
    ) as [End, End];
    const cable = ({ host, outer }: End) => ({
      namespace: host,
      device: 'eth0',
      addresses: [`${outer}/${options.outside === 6 ? 64 : 24}`],
    });
    connect(cable(ends[0]), cable(ends[1]));
    if (options.outerMtu !== undefined) {
      for (const host of hosts) host.ip([`link set eth0 mtu ${options.outerMtu}`]);
    }
    const pair = new WireGuardPair(t, ends[0], ends[1], options);
    await Promise.all([pair.startEnd(pair.first), pair.startEnd(pair.second)]);
    return pair;
  }

  other(end: End): End {
    return end === this.first ? this.second : this.first;
  }

  /**
   * Starts and configures one end, or restarts it after it has ended.
   *
   * @param heard whether to wait until the daemon knows that its device is up
   */
  async startEnd(end: End, { heard = true } = {}): Promise<void> {
    const { host, device, inner, implementation } = end;
    const { offloads, mtu } = this.#options;
    const allowed = offloads?.[end === this.first ? 0 : 1];
    end.wireguard = await WireGuard.start(this.#t, device, implementation, host, allowed);
    this.configure(end);
    host.ip([
      `address add ${inner.v4}/24 dev ${device}`,
      `address add ${inner.v6}/64 dev ${device} nodad`,
      `link set ${device}${mtu === undefined ? '' : ` mtu ${mtu}`} up`,
    ]);
    if (heard) await end.wireguard.isUp();
  }

  configure(end: End): void {
    const { wireguard, key } = end;
    const { key: theirs, inner, outer } = this.other(end);
    wireguard.set(
      ...['private-key', key.privateKey, 'listen-port', `${PORT}`, 'peer', theirs.publicKey],
      ...(this.#presharedKey === undefined ? [] : ['preshared-key', this.#presharedKey]),
      ...(end === this.first ? ['endpoint', this.#endpoint(outer)] : []),
      ...['allowed-ips', `${inner.v4}/32,${inner.v6}/128`],
    );
  }

  /** The endpoint that an end has for the other. */
  endpointSeenBy(end: End): string {
    return end.wireguard.peers.get(this.other(end).key.publicKey)!.endpoint;
  }

  #endpoint(address: string): string {
    return this.#outside === 6 ? `[${address}]:${PORT}` : `${address}:${PORT}`;
  }
}

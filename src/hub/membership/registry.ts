import type { NetworkInfo } from '../../protocol/messages.js';
import { Change } from './change.js';
import { loadMembers, loadRemoved, type Member, Members } from './members.js';
import { prune } from './prune.js';
import { type NetworkRecord, type Store, StoreUnavailable } from './tables.js';

export interface NetworkOptions {
  /** A DNS label. */
  readonly name: string;
  /** The ranges of members' addresses. Called when the network is made. */
  readonly ranges: () => { readonly ipv4: string; readonly ipv6: string };
  readonly mtu?: number | undefined;
}

/** Every IPv6 path carries packets of this size, so that relay frames are never fragmented. */
const DEFAULT_MTU = 1280;

export interface RegistryOptions {
  /** The settings of a new network, if there is none yet. */
  readonly network: NetworkOptions;
  /** Require approval for each new node; as before if not given. */
  readonly ask?: boolean | undefined;
  /** The hub's public key, base64. */
  readonly hubKey: string;
  /** Throws if this hub must not serve the network in the database, or must not make one. */
  readonly check?: ((network: NetworkRecord | undefined) => void) | undefined;
  /** Replace the network in the database with a new one. */
  readonly replace?: boolean | undefined;
  readonly clock: () => number;
  /** Hexadecimal. */
  readonly randomId: (bytes: number) => string;
}

/** The network in the store, and its members in memory. All changes go through here, one after the other. */
export class Registry {
  readonly info: NetworkInfo;
  readonly members: Members;
  readonly store: Store;
  readonly #clock: () => number;
  /** Called with the changed nodes, in the order of the changes. */
  onChange: (changed: readonly Member[]) => void = () => {};
  /** Called when the database was replaced while the hub runs: a backup was restored. */
  onReplaced: () => void = () => {};

  private constructor(store: Store, network: NetworkRecord, clock: () => number) {
    const { id, name, ipv4, ipv6, mtu } = network;
    this.info = { id, name, ipv4, ipv6, mtu };
    this.members = new Members({ epoch: network.epoch, revision: network.revision }, network.horizon);
    this.store = store;
    this.#clock = clock;
  }

  /** Loads the network, or makes it. */
  static async open(store: Store, options: RegistryOptions): Promise<Registry> {
    const network = await store.initialise(async (tables) => {
      const found = await tables.network();
      const isReplaced = options.replace === true && found?.hub_key !== options.hubKey;
      options.check?.(isReplaced ? undefined : found);
      if (found === undefined) await tables.insertNetwork(makeNetwork(options));
      else if (isReplaced)
        await tables.replaceContents({ network: makeNetwork(options), invites: [], nodes: [], shares: [] });
      else if (options.ask !== undefined)
        await tables.updateNetwork({ policy: options.ask ? 'ask' : 'open' });
      const network = (await tables.network())!;
      options.check?.(network); // another hub may have been faster
      return network;
    });
    const registry = new Registry(store, network, options.clock);
    await store.snapshot(async (tables) => {
      const { revision } = (await tables.network())!;
      const current = await loadMembers(tables, 'current');
      registry.members.apply([...(await loadRemoved(tables)), ...current], revision);
    });
    return registry;
  }

  /**
   * Changes something. `work` may run more than once, and must have the same result each time.
   *
   * @throws Refused, StoreUnavailable
   */
  async change<T>(work: (change: Change) => Promise<T>): Promise<T> {
    const { value } = await this.store.write(
      async (tables, network) => {
        const known = this.members.version;
        const isPast = network.revision < known.revision || network.horizon > known.revision;
        if (network.epoch !== known.epoch || isPast) {
          this.onReplaced();
          throw new StoreUnavailable('the database was replaced by another one');
        }
        const change = new Change(tables, network, this.#clock());
        const value = await work(change);
        const revision = await change.end();
        const changed = await loadMembers(tables, { ids: [...change.touched] });
        // Another hub has changed something in between.
        if (network.revision > known.revision)
          changed.push(...(await loadMembers(tables, { since: known.revision })));
        return { value, changed, revision };
      },
      ({ changed, revision }) => {
        this.members.apply(changed, revision);
        this.onChange(changed);
      },
    );
    return value;
  }

  /** Deletes old nodes and invitations. @throws StoreUnavailable */
  async prune(): Promise<void> {
    this.members.forget(await this.change((change) => prune(change, this.members.version.revision)));
  }
}

function makeNetwork({ network, ask, hubKey, clock, randomId }: RegistryOptions): NetworkRecord {
  return {
    single: 1,
    id: randomId(16),
    hub_key: hubKey,
    name: network.name,
    ...network.ranges(),
    mtu: network.mtu ?? DEFAULT_MTU,
    epoch: randomId(8),
    revision: 1,
    policy: ask === true ? 'ask' : 'open',
    next_node: 1,
    created_at: clock(),
    horizon: 0,
  };
}

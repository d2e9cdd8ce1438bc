import type { Endpoint } from '../../ip/endpoint.js';
import { type NetworkMap, NO_VERSION } from '../../protocol/map.js';
import type { StoreCommand } from './commands.js';
import type { KnownNames } from './known-names.js';
import type { MemberChecks } from './members.js';
import { endpointKey } from './paths/candidates.js';
import { RecentRecord } from './paths/greetings.js';
import type { Paths } from './paths/paths.js';
import type { StoredState } from './stored.js';

/** How long changes are collected before they are written, milliseconds. */
const DELAY = 1_000;

export interface KeeperOptions {
  readonly map: NetworkMap;
  readonly checks: MemberChecks;
  readonly known: KnownNames;
  readonly paths: Pick<Paths, 'lastEndpoint' | 'active'>;
  readonly push: (command: StoreCommand) => void;
}

/**
 * Decides when to write down what a node needs to come up without its hub: the map, by which keys it knows the names in
 * it, and where its peers were last. What is lost in a crash the hub still has, or a probe finds out; so a second is early
 * enough. Sans-I/O.
 */
export class Keeper {
  readonly #options: KeeperOptions;
  readonly #recent = new RecentRecord();
  #saveAt = Infinity;
  /** Once in any case: what was read may be from another lametun. */
  #isMapChanged = true;
  #endpoints = '';

  constructor(options: KeeperOptions) {
    this.#options = options;
  }

  nextTimeout(): number {
    return this.#saveAt;
  }

  handleTimeout(now: number): void {
    if (now >= this.#saveAt) this.save();
  }

  mapChanged(now: number): void {
    this.#isMapChanged = true;
    this.pathsChanged(now);
  }

  pathsChanged(now: number): void {
    this.#saveAt = Math.min(this.#saveAt, now + DELAY);
  }

  /** Something could not be written: the next change tries again. */
  handleNotStored(file: keyof StoredState): void {
    if (file === 'map') this.#isMapChanged = true;
    if (file === 'names') this.#options.known.putBack();
    if (file === 'endpoints') this.#endpoints = '';
  }

  /** Writes what has changed, now. */
  save(): void {
    this.#saveAt = Infinity;
    this.#saveMap();
    const names = this.#options.known.takeChanged();
    if (names !== undefined) this.#options.push({ kind: 'store', file: 'names', value: names });
    this.#saveEndpoints();
  }

  /** To be called often: who has traffic is written down for a process after this one. @param wallNow since 1970 */
  trafficSeen(now: number, wallNow: number, isLast = false): void {
    const { paths, push } = this.#options;
    const peers = this.#recent.take(() => paths.active(now), now, isLast);
    if (peers !== undefined) push({ kind: 'store', file: 'recent', value: { at: wallNow, peers } });
  }

  #saveMap(): void {
    const { map, checks, push } = this.#options;
    const { version } = map;
    if (!this.#isMapChanged || version === undefined) return;
    this.#isMapChanged = false;
    // Where something was refused, what is stored is not what the hub said: the hub is to say it again.
    const stored = checks.refuses ? NO_VERSION : version;
    const value = { type: 'map' as const, version: stored, nodes: checks.trusted(map.nodes()) };
    push({ kind: 'store', file: 'map', value });
  }

  #saveEndpoints(): void {
    const { checks, paths, push } = this.#options;
    const endpoints = [...checks.all()].flatMap(({ id }) => {
      const endpoint: Endpoint | undefined = paths.lastEndpoint(id);
      return endpoint === undefined ? [] : [{ node: id, at: endpointKey(endpoint) }];
    });
    const text = JSON.stringify(endpoints);
    if (text === this.#endpoints) return;
    this.#endpoints = text;
    push({ kind: 'store', file: 'endpoints', value: endpoints });
  }
}

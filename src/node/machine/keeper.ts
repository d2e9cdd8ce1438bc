import { type NetworkMap, NO_VERSION } from '../../protocol/map.js';
import type { StoreCommand } from './commands.js';
import type { KnownNames } from './known-names.js';
import type { MemberChecks } from './members.js';
import { endpointKey } from './paths/candidates.js';
import { RecentRecord } from './paths/greetings.js';
import type { Paths } from './paths/paths.js';
import type { StoredState } from './stored.js';

/** How long changes are collected before they are stored, milliseconds. */
const DELAY = 1_000;

export interface KeeperOptions {
  readonly map: NetworkMap;
  readonly checks: MemberChecks;
  readonly known: KnownNames;
  readonly paths: Pick<Paths, 'lastEndpoint' | 'active'>;
  readonly push: (command: StoreCommand) => void;
}

/**
 * Decides when to store what a node needs to start without its hub: the map, the known names, and the last endpoints of
 * peers. A delay of a second is harmless: what a crash loses comes from the hub again, or from probes. Sans-I/O.
 */
export class Keeper {
  readonly #options: KeeperOptions;
  readonly #recent = new RecentRecord();
  #saveAt = Infinity;
  /** True at first: the stored map may be from another version of lametun. */
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

  /** A file could not be written: the next change tries again. */
  handleNotStored(file: keyof StoredState): void {
    if (file === 'map') this.#isMapChanged = true;
    if (file === 'names') this.#options.known.putBack();
    if (file === 'endpoints') this.#endpoints = '';
  }

  /** Stores what has changed, now. */
  save(): void {
    this.#saveAt = Infinity;
    this.#saveMap();
    const names = this.#options.known.takeChanged();
    if (names !== undefined) this.#options.push({ kind: 'store', file: 'names', value: names });
    this.#saveEndpoints();
  }

  /** Call this often: records active peers for the next process. @param wallNow milliseconds since 1970 */
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
    // A map with refusals is not the hub's map of this version: request the whole map after a restart.
    const stored = checks.refuses ? NO_VERSION : version;
    const value = { type: 'map' as const, version: stored, nodes: checks.trusted(map.nodes()) };
    push({ kind: 'store', file: 'map', value });
  }

  #saveEndpoints(): void {
    const { checks, paths, push } = this.#options;
    const endpoints = [...checks.all()].flatMap(({ id }) => {
      const endpoint = paths.lastEndpoint(id);
      return endpoint === undefined ? [] : [{ node: id, at: endpointKey(endpoint) }];
    });
    const text = JSON.stringify(endpoints);
    if (text === this.#endpoints) return;
    this.#endpoints = text;
    push({ kind: 'store', file: 'endpoints', value: endpoints });
  }
}

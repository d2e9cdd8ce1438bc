import type { Endpoint } from '../../ip/endpoint.js';
import type { Log } from '../../log.js';
import { type NetworkMap, NO_VERSION } from '../../protocol/map.js';
import { parseEndpoint, type StateDirectory } from '../shell/state.js';
import type { KnownNames } from './known-names.js';
import type { MemberChecks } from './members.js';
import { endpointKey } from './paths/candidates.js';
import { RecentRecord } from './paths/greetings.js';
import type { Paths } from './paths/paths.js';

/** How long changes are collected before they are written, milliseconds. */
const DELAY = 1_000;

export interface KeeperOptions {
  readonly state: StateDirectory;
  readonly map: NetworkMap;
  readonly checks: MemberChecks;
  readonly known: KnownNames;
  readonly paths: Paths;
  readonly log: Log;
}

/**
 * Keeps what a node needs to come up without its hub: the map, by which keys it knows the names in it, and where its
 * peers were last. What is lost in a crash the hub still has, or a probe finds out; so a second is early enough.
 */
export class Keeper {
  readonly #options: KeeperOptions;
  #timer: NodeJS.Timeout | undefined;
  /** Once in any case: what was read may be from another lametun. */
  #mapIsDirty = true;
  #endpoints = '';
  readonly #recent = new RecentRecord();

  constructor(options: KeeperOptions) {
    this.#options = options;
  }

  /** Where peers answered last, by id. @throws LametunError when that cannot be read */
  endpoints(): Map<number, Endpoint> {
    return new Map(
      this.#options.state.readEndpoints().flatMap(({ node, at }) => {
        const endpoint = parseEndpoint(at);
        return endpoint === undefined ? [] : [[node, endpoint] as const];
      }),
    );
  }

  mapChanged(): void {
    this.#mapIsDirty = true;
    this.pathsChanged();
  }

  pathsChanged(): void {
    this.#timer ??= setTimeout(() => this.save(), DELAY);
  }

  /** Now. What cannot be written is logged: the next change tries again. */
  save(): void {
    this.stop();
    const { log } = this.#options;
    try {
      this.#saveMap();
      this.saveNames();
      this.#saveEndpoints();
    } catch (error) {
      log.error((error as Error).message);
    }
  }

  /** To be called often: who has traffic is written down for a process after this one. */
  trafficSeen(now: number, isLast = false): void {
    const { state, paths, log } = this.#options;
    const peers = this.#recent.take(() => paths.active(now), now, isLast);
    if (peers === undefined) return;
    try {
      state.writeRecent({ at: Date.now(), peers });
    } catch (error) {
      log.error((error as Error).message);
    }
  }

  stop(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  #saveMap(): void {
    const { state, map, checks } = this.#options;
    const { version } = map;
    if (!this.#mapIsDirty || version === undefined) return;
    // What is stored is not what the hub said where that was refused: it is to say so again.
    const stored = checks.refuses ? NO_VERSION : version;
    state.writeMap({ type: 'map', version: stored, nodes: checks.trusted(map.nodes()) });
    this.#mapIsDirty = false;
  }

  /** Now. @throws LametunError when they cannot be written: the next time tries again */
  saveNames(): void {
    const { state, known } = this.#options;
    const names = known.takeChanged();
    try {
      if (names !== undefined) state.writeNames(names);
    } catch (error) {
      known.putBack();
      throw error;
    }
  }

  #saveEndpoints(): void {
    const { state, checks, paths } = this.#options;
    const endpoints = [...checks.all()].flatMap(({ id }) => {
      const endpoint = paths.lastEndpoint(id);
      return endpoint === undefined ? [] : [{ node: id, at: endpointKey(endpoint) }];
    });
    const text = JSON.stringify(endpoints);
    if (text === this.#endpoints) return;
    state.writeEndpoints(endpoints);
    this.#endpoints = text;
  }
}

import type { HubMessage } from '../../protocol/messages.js';
import type { NodeId } from '../../protocol/node-id.js';
import { encodeJson } from '../../protocol/text.js';
import { Fanout, type Follower, type Source } from './fanout.js';
import type { Scheduler } from './scheduler.js';

/** The pause after a round, milliseconds: at least a second, and long enough for 500 messages a second at most. */
const PAUSE = 1_000;
const PAUSE_EACH = 2;
/** How long an encoded message may be reused, milliseconds: it says how long ago members left. */
const FRESH = 1_000;

interface Entry {
  /** Of the last change. */
  revision: number;
  /** By the scheduler's clock; undefined if it is connected, or was not connected since the hub started. */
  leftAt: number | undefined;
  online: boolean;
}

/**
 * Which members are connected to the hub, and when the others disconnected. It is no part of the map, because it
 * changes far more often, and is not stored.
 */
export class Presence implements Source {
  readonly #scheduler: Scheduler;
  readonly #fanout: Fanout;
  readonly #entries = new Map<NodeId, Entry>();
  #revision = 1;
  /** Encoded messages, by the revision that they begin at. */
  readonly #encoded = new Map<number, { readonly bytes: Uint8Array; readonly at: number }>();

  /** @param members the ids of all members at the start, when none is connected */
  constructor(members: Iterable<NodeId>, scheduler: Scheduler) {
    this.#scheduler = scheduler;
    for (const id of members) this.#entries.set(id, { revision: 1, leftAt: undefined, online: false });
    this.#fanout = new Fanout(this, scheduler, (_, followers) => Math.max(PAUSE, PAUSE_EACH * followers));
  }

  get version(): { readonly epoch: string; readonly revision: number } {
    return { epoch: '', revision: this.#revision };
  }

  /** A member has connected: the others learn of it, and it learns of them from now on. */
  arrive(id: NodeId, follower: Follower): void {
    this.#set(id, { online: true, leftAt: undefined });
    this.#fanout.add(follower);
  }

  leave(id: NodeId, follower: Follower): void {
    this.#fanout.delete(follower);
    if (this.#entries.get(id)?.online) this.#set(id, { online: false, leftAt: this.#scheduler.now() });
  }

  /** A member was removed. The map tells the others. */
  forget(id: NodeId): void {
    this.#entries.delete(id);
    this.#encoded.clear();
  }

  /**
   * How long ago a member disconnected, milliseconds; undefined if it is connected, or was not connected since the
   * start.
   */
  awayFor(id: NodeId): number | undefined {
    const leftAt = this.#entries.get(id)?.leftAt;
    return leftAt === undefined ? undefined : this.#scheduler.now() - leftAt;
  }

  map(): Uint8Array {
    return this.since(0);
  }

  since(revision: number): Uint8Array {
    const now = this.#scheduler.now();
    const found = this.#encoded.get(revision);
    if (found !== undefined && now - found.at < FRESH) return found.bytes;
    const bytes = encodeJson(this.#message(revision, now));
    this.#encoded.set(revision, { bytes, at: now });
    return bytes;
  }

  #message(since: number, now: number): HubMessage {
    const online: NodeId[] = [];
    const offline: { id: NodeId; ago?: number }[] = [];
    for (const [id, entry] of this.#entries) {
      if (entry.revision <= since) continue;
      if (entry.online) online.push(id);
      else offline.push(entry.leftAt === undefined ? { id } : { id, ago: Math.round(now - entry.leftAt) });
    }
    return { type: 'presence', online, offline };
  }

  #set(id: NodeId, entry: Omit<Entry, 'revision'>): void {
    this.#revision++;
    this.#entries.set(id, { ...entry, revision: this.#revision });
    this.#encoded.clear();
    this.#fanout.changed();
  }
}

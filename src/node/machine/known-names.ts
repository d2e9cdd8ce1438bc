import { type ClockStep, moved } from '../../wall-clock.js';

/** What is known of a name. Times are in milliseconds since 1970. */
export interface KnownName {
  /** Base64. */
  readonly key: string;
  /** When the name got this key, if it had another one before. */
  readonly changedAt?: number;
}

/** A list, because an object already has keys such as `constructor`. */
export type StoredNames = readonly (KnownName & { readonly name: string })[];

/** The most members of a network, and as many former ones. */
const MOST = 2 * 65_536;
/** How long a changed key is a warning, milliseconds. */
const WARNED_FOR = 7 * 86_400_000;

/**
 * Remembers the key of each name, even after a node is removed, like SSH's `known_hosts`. A hub can remove a node and add
 * another one under the same name. That looks like a machine that was reinstalled, and may be one. So a changed key is
 * accepted, with a warning.
 */
export class KnownNames {
  /** The names seen last are at the end. */
  readonly #names: Map<string, KnownName>;
  #isChanged = false;

  constructor(stored: StoredNames = []) {
    this.#names = new Map(stored.map(({ name, ...known }) => [name, known]));
  }

  /** A member has this name and this key. @param now milliseconds since 1970 */
  meet(name: string, key: string, now: number): void {
    const before = this.#names.get(name);
    this.#names.delete(name);
    const known = before?.key === key ? before : before === undefined ? { key } : { key, changedAt: now };
    this.#names.set(name, known);
    this.#isChanged ||= known !== before;
    if (this.#names.size > MOST) this.#names.delete(this.#names.keys().next().value!);
  }

  /** When a name got its present key; undefined if it never had another one. */
  changedAt(name: string): number | undefined {
    return this.#names.get(name)?.changedAt;
  }

  /** Accepts the present key of a name. @returns whether the key had changed */
  trust(name: string): boolean {
    const known = this.#names.get(name);
    if (known?.changedAt === undefined) return false;
    this.#names.set(name, { key: known.key });
    this.#isChanged = true;
    return true;
  }

  /** The clock was set. */
  move(step: ClockStep): void {
    for (const [name, { key, changedAt }] of this.#names) {
      if (changedAt === undefined || moved(changedAt, step) === changedAt) continue;
      this.#names.set(name, { key, changedAt: moved(changedAt, step) });
      this.#isChanged = true;
    }
  }

  /** Whole sentences. @param names of present members @param now milliseconds since 1970 */
  *warnings(names: Iterable<string>, now: number): Generator<string> {
    for (const name of names) {
      const changedAt = this.changedAt(name);
      if (changedAt === undefined || now - changedAt > WARNED_FOR) continue;
      // biome-ignore lint/style/noRestrictedGlobals: it writes a time, and reads no clock
      const day = new Date(changedAt).toISOString().slice(0, 10);
      yield `${name} has had a new key since ${day}: the machine joined again, or another one has its name. Check with its owner; \`lametun trust ${name}\` accepts the key and ends this warning`;
    }
  }

  /** The names could not be stored: `takeChanged` returns them again. */
  putBack(): void {
    this.#isChanged = true;
  }

  /** @returns the names to store, if they have changed since the last call */
  takeChanged(): StoredNames | undefined {
    if (!this.#isChanged) return undefined;
    this.#isChanged = false;
    return Array.from(this.#names, ([name, known]) => ({ name, ...known }));
  }
}

import { type ClockStep, moved } from '../../wall-clock.js';

/** What is remembered of a name, times in milliseconds since 1970. */
export interface KnownName {
  /** Base64. */
  readonly key: string;
  /** When it was first seen with that key, if it had had another one before. */
  readonly changedAt?: number;
}

/** A list: an object that maps names would have some from its birth, such as `constructor`. */
export type StoredNames = readonly (KnownName & { readonly name: string })[];

/** A network has no more members than this; and as many again that once were. */
const MOST = 2 * 65_536;
/** For how long a name with another key is worth a warning, milliseconds. */
const WARNED_FOR = 7 * 86_400_000;

/**
 * Remembers by which key each name was first met, whatever has become of the node since, as `known_hosts` of SSH does. The
 * hub can remove a node and add another by its name: that looks like a machine that was set up anew, and may be one.
 * Nothing is refused here; it is said.
 */
export class KnownNames {
  /** Those that were met last are at the end. */
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

  /** When a name got the key that it has now, having had another one; undefined when it had none. */
  changedAt(name: string): number | undefined {
    return this.#names.get(name)?.changedAt;
  }

  /** The key that a name has now is the right one. @returns whether it had had another */
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

  /** In whole sentences. @param names of present members @param now milliseconds since 1970 */
  *warnings(names: Iterable<string>, now: number): Generator<string> {
    for (const name of names) {
      const changedAt = this.changedAt(name);
      if (changedAt === undefined || now - changedAt > WARNED_FOR) continue;
      // biome-ignore lint/style/noRestrictedGlobals: it writes a time, and reads no clock
      const day = new Date(changedAt).toISOString().slice(0, 10);
      yield `${name} has another key since ${day} than before: that machine has joined anew, or another one has its name now. Ask whose it is; if all is well, \`lametun trust ${name}\` ends this warning`;
    }
  }

  /** What was taken could not be stored. */
  putBack(): void {
    this.#isChanged = true;
  }

  /** @returns what is to be stored, if anything was learned since this was asked last */
  takeChanged(): StoredNames | undefined {
    if (!this.#isChanged) return undefined;
    this.#isChanged = false;
    return Array.from(this.#names, ([name, known]) => ({ name, ...known }));
  }
}

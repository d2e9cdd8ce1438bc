import { existsSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import * as v from 'valibot';
import { LametunError } from '../../errors.js';
import { makeAside } from '../../linux/files/aside.js';
import { type FileLock, lockFile, lockHolder } from '../../linux/files/file-lock.js';
import { privateDirectory, readOwnFile, replaceFile, syncDirectory } from '../../linux/files/safe-files.js';
import { hubAddresses, nodeId, program } from '../../protocol/fields.js';
import { parseAnswer, parseHubMessage } from '../../protocol/parse.js';
import type { StoredNames } from '../machine/known-names.js';
import type { StoredNode, StoredState } from '../machine/stored.js';

const FILE = {
  key: 'node.key',
  node: 'node.json',
  map: 'map.json',
  endpoints: 'endpoints.json',
  names: 'names.json',
  recent: 'recent.json',
  lock: 'lock',
  version: 'state.json',
} as const;

/** The format of all files of a state directory, those of a hub included. CONTRIBUTING.md says when it changes. */
export const STATE_VERSION = 1;

/** What a node can start without. */
const OPTIONAL = ['endpoints', 'names', 'recent'] as const;

/**
 * The directory in which a node or a hub keeps its files. One process at a time holds it. Files are replaced as a whole:
 * a crash leaves either the old file or the new one.
 */
export class StateDirectory {
  readonly path: string;
  readonly #lock: FileLock;
  #closed = false;

  private constructor(path: string, lock: FileLock) {
    this.path = path;
    this.#lock = lock;
  }

  /**
   * Locks the directory. If it does not exist, it is made with mode 0700.
   *
   * @param writtenBy `lametun 0.1.0`, which is named when an older version refuses the directory
   * @throws LametunError `busy` when another process holds it, `usage` when it belongs to someone else, `state` when the
   *   disk fails, or a newer lametun wrote the directory; the files stay as they were
   */
  static open(path: string, writtenBy?: string): StateDirectory {
    explained(path, () => privateDirectory(path, FILE.lock));
    refuseNewerState(path); // the lock would change a file
    const state = new StateDirectory(
      path,
      explained(path, () => lockFile(join(path, FILE.lock), path)),
    );
    try {
      const before = refuseNewerState(path);
      if (before === undefined || (writtenBy !== undefined && before.program !== writtenBy))
        state.#write(FILE.version, `${JSON.stringify({ version: STATE_VERSION, program: writtenBy })}\n`);
      return state;
    } catch (error) {
      state.close();
      throw error;
    }
  }

  /** Releases it for the next process. */
  close(): void {
    if (!this.#closed) this.#lock.release();
    this.#closed = true;
  }

  file(name: string): string {
    return join(this.path, name);
  }

  /**
   * The node's private key, 32 bytes, made now if it does not exist. The caller erases them.
   *
   * @param generate returns 32 random bytes; undefined for a member, whose key cannot be made again
   * @throws LametunError that names the file
   */
  privateKey(generate: (() => Uint8Array) | undefined): Uint8Array {
    const path = this.file(FILE.key);
    const text = explained(path, () => readOwnFile(path, { secret: true }));
    if (text === undefined && generate === undefined)
      throw new LametunError(
        'state',
        `${path} is missing, so this member has no key: put it back, or remove ${this.file(FILE.node)} and join again`,
      );
    if (text === undefined) {
      const bytes = generate!();
      this.#write(FILE.key, `${Buffer.from(bytes).toString('base64')}\n`);
      return bytes;
    }
    const bytes = Buffer.from(text.trim(), 'base64');
    if (bytes.length === 32 && bytes.toString('base64') === text.trim()) return new Uint8Array(bytes);
    throw new LametunError(
      'state',
      `${path} is not a private key of lametun: restore the right file, or remove it and ${FILE.node}, and join again`,
    );
  }

  /** @returns undefined when the file does not exist @throws LametunError that names the file */
  read<F extends keyof StoredState>(file: F): StoredState[F] | undefined {
    return readJson(this.file(FILE[file]), PARSERS[file], file === 'node' ? `: ${RESTORE}` : '');
  }

  /** @param onDamaged gets an error that names the file, which is then left out */
  readOptional(onDamaged: (error: Error) => void): Partial<Pick<StoredState, (typeof OPTIONAL)[number]>> {
    const entries = OPTIONAL.map((file) => {
      try {
        return [file, this.read(file)] as const;
      } catch (error) {
        onDamaged(error as Error);
        return [file, undefined] as const;
      }
    });
    return Object.fromEntries(entries.filter(([, value]) => value !== undefined));
  }

  /** Replaces a file. @throws LametunError that names the file */
  write<F extends keyof StoredState>(file: F, value: StoredState[F]): void {
    const isForPeople = file === 'node' || file === 'endpoints';
    this.#write(FILE[file], `${JSON.stringify(value, null, isForPeople ? 2 : 0)}\n`);
  }

  /** Removes the node's files, its key included. A hub's files stay. */
  forgetNode(): void {
    for (const name of NODE_FILES) rmSync(this.file(name), { force: true });
    syncDirectory(this.path);
  }

  /**
   * Moves the node's files, its key included, into another directory. A hub's files stay.
   *
   * @param why part of the name of a new directory: `removed-2026-11-30`, with a number if that exists
   * @param directory an existing directory to use instead
   * @returns the directory
   * @throws LametunError; each file is then in one of the two directories
   */
  setNodeAside(why: 'removed' | 'left' | 'replaced', directory?: string): string {
    return explained(this.path, () => {
      const aside = directory ?? makeAside(this.path, why);
      for (const name of NODE_FILES) {
        if (existsSync(this.file(name))) renameSync(this.file(name), join(aside, name));
      }
      syncDirectory(aside);
      syncDirectory(this.path);
      return aside;
    });
  }

  #write(name: string, text: string): void {
    const path = this.file(name);
    explained(path, () => replaceFile(path, text));
  }
}

/** A machine without the first of these is not a member. */
const NODE_FILES = [FILE.node, FILE.map, FILE.endpoints, FILE.recent, FILE.names, FILE.key] as const;

const RESTORE = 'restore the right file, or remove it and join again';

const rest = v.strictObject({
  hub: v.strictObject({
    key: v.pipe(v.string(), v.regex(/^[A-Za-z0-9+/]{43}=$/)),
    addresses: v.pipe(hubAddresses, v.minLength(1)),
    proven: hubAddresses,
  }),
  port: v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(65_535)),
  interface: v.pipe(v.string(), v.regex(/^[a-zA-Z0-9_=+.-]{1,15}$/)),
  shares: v.pipe(v.array(v.pipe(v.string(), v.maxLength(49))), v.maxLength(64)),
});
const endpoints = v.array(v.strictObject({ node: v.number(), at: v.pipe(v.string(), v.maxLength(64)) }));

const recentPeers = v.strictObject({
  at: v.pipe(v.number(), v.finite()),
  peers: v.pipe(v.array(nodeId), v.maxLength(64)),
});

const storedNames = v.array(
  v.strictObject({
    name: v.pipe(v.string(), v.maxLength(63)),
    key: v.pipe(v.string(), v.maxLength(44)),
    changedAt: v.exactOptional(v.number()),
  }),
);

const PARSERS: { readonly [File in keyof StoredState]: (value: unknown) => StoredState[File] } = {
  node(value) {
    const { network, you, ...others } = v.parse(v.looseObject({}), value);
    return { ...parseAnswer('join', { network, you }), ...v.parse(rest, others) };
  },
  map(value) {
    const message = parseHubMessage(value);
    if (message.type === 'map') return message;
    throw new LametunError('protocol', 'it is not a network map');
  },
  endpoints: (value) => v.parse(endpoints, value),
  names: (value) => v.parse(storedNames, value) as StoredNames,
  recent: (value) => v.parse(recentPeers, value),
};

/** Reads the member of a state directory without locking it. @throws LametunError that names the file */
export function readStoredNode(state: string): StoredNode | undefined {
  refuseNewerState(state);
  return readJson(join(state, FILE.node), PARSERS.node, `: ${RESTORE}`);
}

/** The process that holds a state directory, as `lockHolder` has it. @throws LametunError that names the file */
export function holderOf(state: string): number | undefined {
  const file = join(state, FILE.lock);
  return explained(file, () => lockHolder(file));
}

/** Newer versions may add fields. */
const writer = v.object({
  version: v.pipe(v.number(), v.integer(), v.minValue(1)),
  program: v.exactOptional(program),
});

/**
 * Reads which lametun wrote a state directory, without changing or locking anything.
 *
 * @returns undefined when nothing says so
 * @throws LametunError `state` when it was one whose files this one does not understand, or the file is damaged
 */
export function refuseNewerState(state: string): v.InferOutput<typeof writer> | undefined {
  const file = join(state, FILE.version);
  const found = readJson(file, (value) => v.parse(writer, value), ': remove it');
  if (found === undefined || found.version <= STATE_VERSION) return found;
  const { version, program: newer = 'a newer lametun' } = found;
  throw new LametunError(
    'state',
    `${state} was written by ${newer} (${file}: version ${version} of the state, this lametun knows ${STATE_VERSION}): install that version or a newer one, or restore a copy of ${state} from before the update`,
  );
}

/** @param advice what to do about a damaged file; empty for one that the node can do without */
function readJson<T>(path: string, parse: (value: unknown) => T, advice: string): T | undefined {
  const text = explained(path, () => readOwnFile(path));
  if (text === undefined) return undefined;
  try {
    return parse(JSON.parse(text));
  } catch (error) {
    const why = error instanceof SyntaxError ? 'it is not JSON' : (error as Error).message;
    throw new LametunError('state', `${path} is damaged, or from another program (${why})${advice}`, {
      cause: error,
    });
  }
}

/** Does something with a file. An error that a user can mend names the path, and says what to do. */
function explained<T>(path: string, action: () => T): T {
  try {
    return action();
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const advice = code === undefined ? undefined : ADVICE[code];
    if (error instanceof LametunError || advice === undefined) throw error;
    throw new LametunError(NOT_TYPED.has(code!) ? 'state' : 'usage', `${path}: ${advice}`, { cause: error });
  }
}

const ADVICE: Readonly<Record<string, string>> = {
  EACCES: 'permission denied: try sudo',
  EPERM: 'permission denied: try sudo',
  EROFS: 'the file system is read-only: choose another --state',
  ENOSPC: 'the disk is full: make room; nothing was changed',
  EDQUOT: 'the disk quota is used up: make room; nothing was changed',
  ENOTDIR: 'part of the path is not a directory',
  EISDIR: 'it is a directory: remove it',
  ELOOP: 'it is a symbolic link: remove it',
  EIO: 'the disk cannot be read or written',
};

/** Errors whose cause is not what the user typed. */
const NOT_TYPED: ReadonlySet<string> = new Set(['ENOSPC', 'EDQUOT', 'EISDIR', 'ELOOP', 'EIO']);

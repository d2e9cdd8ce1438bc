import { existsSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import * as v from 'valibot';
import { LametunError } from '../../errors.js';
import { makeAside } from '../../linux/files/aside.js';
import { type FileLock, lockFile } from '../../linux/files/file-lock.js';
import { privateDirectory, readOwnFile, replaceFile, syncDirectory } from '../../linux/files/safe-files.js';
import { hubAddresses, nodeId } from '../../protocol/fields.js';
import type { MapMessage } from '../../protocol/map.js';
import { parseAnswer, parseHubMessage } from '../../protocol/parse.js';
import type { StoredNames } from '../machine/known-names.js';
import type { RecentPeers } from '../machine/paths/greetings.js';
import type { StoredEndpoints, StoredNode, StoredState } from '../machine/stored.js';

const FILE = {
  key: 'node.key',
  node: 'node.json',
  map: 'map.json',
  endpoints: 'endpoints.json',
  names: 'names.json',
  recent: 'recent.json',
  lock: 'lock',
} as const;

/**
 * A directory with all that a node, or a hub, keeps. One process at a time has it. Files are replaced as a whole:
 * after a crash there is the old one or the new one.
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
   * Makes the directory if it is not there, with mode 0700, and locks it.
   *
   * @throws LametunError `busy` when another process has it, `usage` when it is somebody else's, `state` when the disk
   * cannot hold it; what is there stays as it was
   */
  static open(path: string): StateDirectory {
    explained(path, () => privateDirectory(path, FILE.lock));
    return new StateDirectory(
      path,
      explained(path, () => lockFile(join(path, FILE.lock), path)),
    );
  }

  /** Gives it to the next process. */
  close(): void {
    if (!this.#closed) this.#lock.release();
    this.#closed = true;
  }

  file(name: string): string {
    return join(this.path, name);
  }

  /**
   * The node's private key, 32 bytes; made now if there is none. The caller erases them.
   *
   * @param generate gives 32 random bytes; undefined for a member, whose key cannot be made again
   * @throws LametunError that names the file
   */
  privateKey(generate: (() => Uint8Array) | undefined): Uint8Array {
    const path = this.file(FILE.key);
    const text = explained(path, () => readOwnFile(path, { secret: true }));
    if (text === undefined && generate === undefined)
      throw new LametunError(
        'state',
        `${path} is missing, by which this machine is a member: put it back, or remove ${this.file(FILE.node)} and join again`,
      );
    if (text === undefined) {
      const bytes = generate!();
      this.#write(FILE.key, `${Buffer.from(bytes).toString('base64')}\n`);
      return bytes;
    }
    const bytes = Buffer.from(text.trim(), 'base64');
    if (bytes.length === 32 && bytes.toString('base64') === text.trim()) return new Uint8Array(bytes);
    throw new LametunError('state', `${path} is not a private key of lametun's: ${RESTORE}`);
  }

  /** @returns undefined when this machine has joined no network @throws LametunError that names the file */
  readNode(): StoredNode | undefined {
    return this.#parse(FILE.node, parseNode);
  }

  /** Replaces what is kept of one kind. @throws LametunError that names the file */
  write<F extends keyof StoredState>(file: F, value: StoredState[F]): void {
    const isForPeople = file === 'node' || file === 'endpoints';
    this.#write(FILE[file], isForPeople ? json(value) : `${JSON.stringify(value)}\n`);
  }

  /** @throws LametunError that names the file: the hub has all of it, so one may go on without */
  readMap(): MapMessage | undefined {
    return this.#parse(FILE.map, (value) => {
      const message = parseHubMessage(value);
      if (message.type === 'map') return message;
      throw new LametunError('protocol', 'it is no map');
    });
  }

  /** @throws LametunError that names the file: one may go on without */
  readEndpoints(): StoredEndpoints {
    return this.#parse(FILE.endpoints, (value) => v.parse(endpoints, value)) ?? [];
  }

  /** @throws LametunError that names the file: one may go on without */
  readRecent(): RecentPeers | undefined {
    return this.#parse(FILE.recent, (value) => v.parse(recentPeers, value));
  }

  /** @throws LametunError that names the file: one may go on without */
  readNames(): StoredNames {
    return this.#parse(FILE.names, (value) => v.parse(storedNames, value) as StoredNames) ?? [];
  }

  /** Forgets the network, and the key by which this machine was its member. What is a hub's stays. */
  forgetNode(): void {
    for (const name of NODE_FILES) rmSync(this.file(name), { force: true });
    syncDirectory(this.path);
  }

  /**
   * Moves what makes this machine a member, its key included, into another directory. What is a hub's stays.
   *
   * @param why part of the name of a new directory: `removed-2026-11-30`, or with a number where that exists
   * @param directory in place of a new one
   * @returns the directory
   * @throws LametunError; each file is in one of the two places then
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

  #parse<T>(name: string, parse: (value: unknown) => T): T | undefined {
    return readJson(this.file(name), parse);
  }

  #write(name: string, text: string): void {
    const path = this.file(name);
    explained(path, () => replaceFile(path, text));
  }
}

/** Without the first of them a machine is no member. */
const NODE_FILES = [FILE.node, FILE.map, FILE.endpoints, FILE.recent, FILE.names, FILE.key] as const;

const RESTORE = 'put the right one back, or remove it and join again';

const json = (value: unknown): string => `${JSON.stringify(value, null, 2)}\n`;

const rest = v.strictObject({
  hub: v.strictObject({
    key: v.pipe(v.string(), v.regex(/^[A-Za-z0-9+/]{43}=$/)),
    addresses: v.pipe(hubAddresses, v.minLength(1)),
    proven: hubAddresses,
  }),
  port: v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(65_535)),
  device: v.pipe(v.string(), v.regex(/^[a-zA-Z0-9_=+.-]{1,15}$/)),
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

/**
 * The member that a state directory is of, without holding the directory.
 *
 * @returns undefined when it is none @throws LametunError that names the file
 */
export const readStoredNode = (state: string): StoredNode | undefined =>
  readJson(join(state, FILE.node), parseNode);

function readJson<T>(path: string, parse: (value: unknown) => T): T | undefined {
  const text = explained(path, () => readOwnFile(path));
  if (text === undefined) return undefined;
  try {
    return parse(JSON.parse(text));
  } catch (error) {
    const why = error instanceof SyntaxError ? 'it is no JSON' : (error as Error).message;
    throw new LametunError('state', `${path} is damaged, or of another program (${why}): ${RESTORE}`, {
      cause: error,
    });
  }
}

function parseNode(value: unknown): StoredNode {
  const { network, you, ...others } = v.parse(v.looseObject({}), value);
  return { ...parseAnswer('join', { network, you }), ...v.parse(rest, others) };
}

/** Does something with a file, and says what to do when that is not possible. */
function explained<T>(path: string, action: () => T): T {
  try {
    return action();
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const advice = code === undefined ? undefined : ADVICE[code];
    if (error instanceof LametunError || advice === undefined) throw error;
    throw new LametunError(IS_KEPT.has(code!) ? 'state' : 'usage', `${path}: ${advice}`, { cause: error });
  }
}

const ADVICE: Readonly<Record<string, string>> = {
  EACCES: 'permission denied: try sudo',
  EPERM: 'permission denied: try sudo',
  EROFS: 'it is on a file system that cannot be written to: choose another --state',
  ENOSPC: 'the disk is full: make room, nothing was changed',
  EDQUOT: 'the disk quota is used up: make room, nothing was changed',
  ENOTDIR: 'a part of the path is no directory',
  EISDIR: 'it is a directory: remove it',
  ELOOP: 'it is a symbolic link: remove it',
  EIO: 'the disk does not read or write',
};

/** Of these what was typed is not the cause: neither another directory's name nor sudo is asked for. */
const IS_KEPT: ReadonlySet<string> = new Set(['ENOSPC', 'EDQUOT', 'EISDIR', 'ELOOP', 'EIO']);

import {
  chmodSync,
  closeSync,
  constants,
  fchmodSync,
  fstatSync,
  fsyncSync,
  ftruncateSync,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  type Stats,
  statSync,
  unlinkSync,
  writeSync,
} from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { LametunError } from '../../errors.js';

/*
 * Files that other users can neither read, nor replace, nor redirect.
 *
 * Two rules are enough. A directory is safe if only root and this process's user can change what its path leads to:
 * `safeDirectory` checks every directory from / down, as sshd does for authorized_keys. A file is opened without
 * following links, and checked through its descriptor. A new file gets its name only when it is complete.
 */

const { O_APPEND, O_CREAT, O_DIRECTORY, O_EXCL, O_NOFOLLOW, O_NONBLOCK, O_RDONLY, O_RDWR, O_WRONLY } =
  constants;

const PRIVATE_FILE = 0o600;
const PRIVATE_DIRECTORY = 0o700;
/** Bits of a mode: others may write; only a file's owner may rename it, as in /tmp. */
const OTHERS_WRITE = 0o022;
const STICKY = 0o1000;
/** The most links that Linux follows in one path. */
const MOST_LINKS = 40;

/**
 * Makes a directory and its parents for this user only, unless they exist. Afterwards nobody else can change what the
 * path leads to.
 *
 * @returns the path without symbolic links
 * @throws LametunError `usage` if another user could replace the directory or one above it; Node's errors
 */
export function safeDirectory(path: string): string {
  return follow(path, false)!;
}

/**
 * Finds a file that only root and this user can replace.
 *
 * @returns its path without symbolic links; undefined if there is none
 * @throws LametunError `usage` if another user could replace it, `state` if it is a dangling link; Node's errors
 */
export function safeFile(path: string): string | undefined {
  return follow(path, true);
}

function follow(path: string, isFile: boolean): string | undefined {
  const rest = partsOf(resolve(path));
  let here = '/';
  let parent = checked('/', lstatSync('/'), path);
  let isLink = false;
  for (let links = 0, name = rest.shift(); name !== undefined; name = rest.shift()) {
    if (name === '..') {
      here = dirname(here);
      parent = lstatSync(here);
      continue;
    }
    const next = join(here, name);
    const found = lstatSync(next, { throwIfNoEntry: false });
    if (found === undefined) {
      if (isLink) throw dangling(path, next);
      if (isFile) return undefined;
      makeDirectory(next);
      rest.unshift(name); // and check what is there now
    } else if (found.isSymbolicLink()) {
      if ((parent.mode & OTHERS_WRITE) !== 0 && !isTrusted(found.uid)) throw replaceable(next, found, path);
      if (++links > MOST_LINKS)
        throw new LametunError('usage', `${path} leads through too many symbolic links: choose another path`);
      isLink ||= isFile && rest.length === 0;
      const target = readlinkSync(next);
      if (target.startsWith('/')) {
        here = '/';
        parent = lstatSync('/');
      }
      rest.unshift(...partsOf(target));
    } else if (isFile && rest.length === 0) {
      return next;
    } else {
      parent = checked(next, found, path);
      here = next;
    }
  }
  return here;
}

/**
 * Makes a directory that only this user can enter. An existing one is closed to others.
 *
 * @param mark a file's name. A directory that others can enter, with other files but not this one, is somebody's home
 *   or /tmp, named by mistake
 * @throws LametunError `usage` with the reason if the directory cannot be this user's only; Node's errors
 */
export function privateDirectory(path: string, mark: string): void {
  safeDirectory(path);
  const found = lstatSync(path);
  if (!found.isDirectory())
    throw new LametunError('usage', `${path} is not a directory: choose another path`);
  if (found.uid !== process.geteuid?.())
    throw new LametunError('usage', `${path} belongs to another user: try sudo, or another directory`);
  if ((found.mode & 0o077) === 0) return;
  const wasOpen = (found.mode & OTHERS_WRITE) !== 0;
  const names = readdirSync(path);
  if (names.length > 0 && (wasOpen || !names.includes(mark)))
    throw new LametunError('usage', `${path} holds other files: choose an empty directory`);
  chmodSync(path, PRIVATE_DIRECTORY);
  if (wasOpen && readdirSync(path).length > 0)
    throw new LametunError('usage', `another user wrote to ${path}: remove it, or choose another directory`);
}

/**
 * Opens this user's file for reading, or for reading and writing, which makes it. It has O_CLOEXEC.
 *
 * @throws LametunError `state` if the file is not this user's or not a regular one; Node's errors (ELOOP for a link)
 */
export function openOwnFile(path: string, access: 'read' | 'write' | 'append'): number {
  const fd = openSync(path, ACCESS[access] | O_NOFOLLOW | O_NONBLOCK, PRIVATE_FILE);
  try {
    const found = fstatSync(fd);
    if (!found.isFile())
      throw new LametunError('state', `${path} is not a regular file: choose another file, or remove it`);
    if (!isTrusted(found.uid)) throw new LametunError('state', `${path} belongs to another user: remove it`);
    return fd;
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

const ACCESS = {
  read: O_RDONLY,
  write: O_RDWR | O_CREAT,
  append: O_WRONLY | O_CREAT | O_APPEND,
} as const;

/** Opens this user's file for reading. @returns undefined if there is no such file @throws like `openOwnFile` */
export function openExisting(path: string): number | undefined {
  try {
    return openOwnFile(path, 'read');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

/**
 * Reads this user's file.
 *
 * @returns undefined if there is no such file
 * @throws LametunError `state` if the file is not this user's, or secret and readable by others; Node's errors
 */
export function readOwnFile(path: string, { secret = false } = {}): string | undefined {
  const fd = openExisting(path);
  if (fd === undefined) return undefined;
  try {
    if (secret && (fstatSync(fd).mode & 0o077) !== 0)
      throw new LametunError('state', `other users can read ${path}, which is secret: \`chmod 600 ${path}\``);
    return readFileSync(fd, 'utf8');
  } finally {
    closeSync(fd);
  }
}

/**
 * Writes a file as a whole: after a crash there is either the old or the new one. A link is replaced, not followed.
 *
 * @param options.beside the name until the file is complete; where others can make files, one that they cannot guess
 * @throws Node's errors; the old file is then unchanged
 */
export function replaceFile(
  path: string,
  text: string | Uint8Array,
  { mode = PRIVATE_FILE, beside = `${path}.new` } = {},
): void {
  writeNew(beside, text, mode, () => renameSync(beside, path));
}

/**
 * Writes a new file as a whole.
 *
 * @returns false if the file exists, which is left unchanged
 * @throws Node's errors
 */
export function createFile(path: string, text: string | Uint8Array): boolean {
  const beside = `${path}.${process.pid}.new`;
  try {
    writeNew(beside, text, PRIVATE_FILE, () => linkSync(beside, path)); // unlike rename(2), link(2) replaces nothing
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    return false;
  } finally {
    removeFile(beside);
  }
}

/**
 * Opens an output file that the user named, and empties it. Where others can make files, it must be new or this user's,
 * as Linux's `fs.protected_regular` and `fs.protected_symlinks` demand; elsewhere it may be a pipe or link.
 *
 * @throws LametunError `usage`; Node's errors
 */
export function openOutput(path: string): number {
  const folder = statSync(dirname(resolve(path)), { throwIfNoEntry: false });
  const shared = folder !== undefined && (folder.mode & OTHERS_WRITE) !== 0;
  const fd = openSync(path, O_WRONLY | O_CREAT | (shared ? O_NOFOLLOW : 0), 0o666);
  try {
    const found = fstatSync(fd);
    if (shared && !isTrusted(found.uid))
      throw new LametunError('usage', `${path} belongs to another user: choose another file`);
    if (found.isFile()) ftruncateSync(fd);
    return fd;
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

/** Makes the kernel write a directory to the disk. */
export function syncDirectory(path: string): void {
  const fd = openSync(path, O_RDONLY | O_DIRECTORY);
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

function writeNew(path: string, text: string | Uint8Array, mode: number, name: () => void): void {
  removeFile(path); // left by a crash
  const fd = openSync(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, mode);
  try {
    try {
      for (let bytes = Buffer.from(text); bytes.length > 0; ) bytes = bytes.subarray(writeSync(fd, bytes));
      fchmodSync(fd, mode); // whatever the umask is
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
    name();
  } catch (error) {
    removeFile(path);
    throw error;
  }
  syncDirectory(dirname(path));
}

function removeFile(path: string): void {
  try {
    unlinkSync(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
}

function makeDirectory(path: string): void {
  try {
    mkdirSync(path, { mode: PRIVATE_DIRECTORY });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return; // another process was faster, so check its directory
    throw error;
  }
  syncDirectory(dirname(path));
}

function checked(directory: string, found: Stats, path: string): Stats {
  if (!found.isDirectory())
    throw new LametunError('usage', `${directory} is not a directory: choose another path`);
  const isOpen = (found.mode & OTHERS_WRITE) !== 0 && (found.mode & STICKY) === 0;
  if (isOpen || !isTrusted(found.uid)) throw replaceable(directory, found, path);
  return found;
}

function replaceable(where: string, { uid, mode }: Stats, path: string): LametunError {
  const why = isTrusted(uid)
    ? `other users can write to it (mode ${(mode & 0o7777).toString(8)}): \`chmod go-w ${where}\`, or choose another path`
    : `it belongs to user ${uid}: choose another path`;
  return new LametunError('usage', `other users could replace ${path} through ${where}: ${why}`);
}

const dangling = (path: string, missing: string): LametunError =>
  new LametunError(
    'state',
    `${path} leads to ${missing}, which does not exist: mount what it is on, or correct the link`,
  );

const isTrusted = (uid: number): boolean =>
  uid === 0 || uid === process.geteuid?.() || uid === unmappedUser();

const partsOf = (path: string): string[] => path.split('/').filter((part) => part !== '' && part !== '.');

let unmapped: number | undefined | 'unknown' = 'unknown';

/**
 * In a user namespace, the number for all users outside it, such as the machine's root, who owns /: user_namespaces(7).
 * Undefined where every user has a number.
 */
function unmappedUser(): number | undefined {
  if (unmapped !== 'unknown') return unmapped;
  try {
    const all = /^\s*0\s+0\s+4294967295\s*$/.test(readFileSync('/proc/self/uid_map', 'utf8'));
    unmapped = all ? undefined : Number(readFileSync('/proc/sys/kernel/overflowuid', 'utf8'));
  } catch {
    unmapped = undefined; // no /proc
  }
  return unmapped;
}

import { closeSync, ftruncateSync, readFileSync, readlinkSync, writeSync } from 'node:fs';
import { LametunError } from '../../errors.js';
import { ERRNO, LinuxError } from '../ffi/errno.js';
import { errno, libc } from '../ffi/libc.js';
import { openExisting, openOwnFile } from './safe-files.js';

/** sys/file.h. */
const LOCK_SH = 1;
const LOCK_EX = 2;
const LOCK_NB = 4;

/** A file that one process at a time holds. It is released when the process ends, however that happens. */
export interface FileLock {
  release(): void;
}

/**
 * Locks a file, which contains the holder's process number for others to read. The file stays after its release,
 * because removing it could remove the next holder's.
 *
 * @param path made if it does not exist, with mode 0600
 * @param what the lock protects, for the message: `the hub's database /var/lib/lametun/hub.sqlite`
 * @throws LametunError `busy` when another process, or this one, holds it; LinuxError
 */
export function lockFile(path: string, what: string): FileLock {
  const fd = openOwnFile(path, 'write'); // with O_CLOEXEC: programs that are run do not inherit the lock
  try {
    if (!holdOpenFile(fd)) {
      const holder = readFileSync(fd, 'utf8').trim();
      const who = holder === '' ? 'another process' : `process ${holder}`;
      throw new LametunError('busy', `${what} is in use by ${who} (${path} is locked): stop it first`);
    }
    ftruncateSync(fd);
    writeSync(fd, `${process.pid}\n`);
  } catch (error) {
    closeSync(fd);
    throw error;
  }
  return { release: () => closeSync(fd) };
}

/**
 * Finds the process that holds a lock file, without making or changing anything.
 *
 * @returns its number; 0 if it is not known, undefined if nobody holds the file
 */
export function lockHolder(path: string): number | undefined {
  const fd = openExisting(path);
  if (fd === undefined) return undefined;
  try {
    if (!isHeldElsewhere(fd)) return undefined;
    return Number(/^\d+$/m.exec(readFileSync(fd, 'utf8'))?.[0] ?? 0);
  } finally {
    closeSync(fd);
  }
}

/** Locks an open file until it is closed or the process ends. @returns false if another one holds it */
export const holdOpenFile = (fd: number): boolean => tryLock(fd, LOCK_EX);

/** Whether another process holds an open file. Processes that ask at the same time do not see each other. */
export const isHeldElsewhere = (fd: number): boolean => !tryLock(fd, LOCK_SH);

function tryLock(fd: number, kind: number): boolean {
  while (libc.flock(fd, kind | LOCK_NB) < 0) {
    const number = errno();
    if (number === ERRNO.EAGAIN) return false;
    if (number !== ERRNO.EINTR) throw new LinuxError(`flock ${readlinkSync(`/proc/self/fd/${fd}`)}`, number);
  }
  return true;
}

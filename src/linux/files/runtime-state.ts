import { chmodSync, closeSync, existsSync, lstatSync, readFileSync, rmSync } from 'node:fs';
import { LametunError } from '../../errors.js';
import { ERRNO, LinuxError } from '../ffi/errno.js';
import { holdOpenFile } from './file-lock.js';
import { openOwnFile, replaceFile, safeDirectory } from './safe-files.js';

/** Notes for the next process to clean up after one that was killed. Empty after every boot. */
export const STATE_DIRECTORY = '/run/lametun';

/** The file that `withStateLock` locks with flock(2). */
export const STATE_LOCK = `${STATE_DIRECTORY}/lock`;

const LOCK_TIMEOUT = 10_000; // milliseconds; work under the lock takes tens of them

/**
 * Runs `fn` while no other process does. The lock is released when the process ends, however that happens.
 *
 * @throws LinuxError if the directory cannot be made, or belongs to another user; whatever `fn` throws
 */
export function withStateLock<T>(fn: () => T): T {
  const fd = openLockFile();
  try {
    lock(fd);
    return fn();
  } finally {
    closeSync(fd);
  }
}

function lock(fd: number): void {
  const deadline = performance.now() + LOCK_TIMEOUT;
  while (!holdOpenFile(fd)) {
    if (performance.now() > deadline) {
      const hint = 'another lametun hangs: `fuser -v` on that file names it';
      throw new LinuxError(`lock ${STATE_LOCK}`, ERRNO.EBUSY, hint);
    }
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5); // sleeps
  }
}

function openLockFile(): number {
  try {
    safeDirectory(STATE_DIRECTORY);
    if ((lstatSync(STATE_DIRECTORY).mode & 0o077) !== 0) chmodSync(STATE_DIRECTORY, 0o700);
    return openOwnFile(STATE_LOCK, 'write'); // with O_CLOEXEC: programs that are run do not inherit the lock
  } catch (error) {
    const number = (error as NodeJS.ErrnoException).errno;
    if (error instanceof LametunError || number === undefined) throw error;
    const forbidden = number === -ERRNO.EACCES || number === -ERRNO.EPERM;
    const hint = forbidden ? 'needs root (try sudo)' : 'lametun notes there what to undo: make /run writable';
    throw new LinuxError(`open ${STATE_LOCK}`, -number, hint, { cause: error });
  }
}

/** Whether there is a state file. Needs no lock and makes nothing. */
export const hasState = (name: string): boolean => existsSync(`${STATE_DIRECTORY}/${name}`);

/** Reads a state file; undefined if there is none. Needs the lock. */
export function readState(name: string): unknown {
  try {
    return JSON.parse(readFileSync(`${STATE_DIRECTORY}/${name}`, 'utf8'));
  } catch {
    return undefined;
  }
}

/** Writes a state file. Even after a crash, either the old or the new one is there as a whole. Needs the lock. */
export function writeState(name: string, state: unknown): void {
  replaceFile(`${STATE_DIRECTORY}/${name}`, `${JSON.stringify(state, null, 2)}\n`);
}

export function removeState(name: string): void {
  rmSync(`${STATE_DIRECTORY}/${name}`, { force: true });
}

/** A process, distinct from a later one with the same number. */
export interface ProcessIdentity {
  readonly pid: number;
  /** When it started, in clock ticks since boot. */
  readonly startTime: number;
}

export function thisProcess(): ProcessIdentity {
  return { pid: process.pid, startTime: startTime(process.pid) ?? 0 };
}

/** A process that /proc hides from this one counts as alive: systemd's `ProtectProc=`, proc(5) `hidepid`. */
export const isAlive = (who: ProcessIdentity): boolean =>
  startTime(who.pid) === who.startTime || isHidden(who.pid);

function isHidden(pid: number): boolean {
  if (existsSync(`/proc/${pid}`)) return false;
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

/** Field 22 of /proc/PID/stat, proc(5); undefined if there is no such process, or it is a zombie. */
function startTime(pid: number): number | undefined {
  let stat: string;
  try {
    stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  } catch {
    return undefined;
  }
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' '); // the name before it may contain anything
  return fields[0] === 'Z' || fields[0] === 'X' ? undefined : Number(fields[22 - 3]);
}

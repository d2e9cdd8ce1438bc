import { readFileSync, writeFileSync } from 'node:fs';
import { ERRNO, LinuxError } from '../ffi/errno.js';

/** A kernel setting with its values before and after the change. Names have slashes: `net/ipv4/ip_forward`. */
export interface ChangedSetting {
  readonly name: string;
  readonly before: string;
  readonly set: string;
}

/** @returns undefined if the network namespace of the calling thread has no such setting */
export function readSysctl(name: string): string | undefined {
  try {
    return readFileSync(`/proc/sys/${name}`, 'utf8').trim();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw asLinuxError(`read the sysctl ${name}`, error);
  }
}

/** @throws LinuxError if the kernel refuses; EROFS in a container that may not change settings */
export function writeSysctl(name: string, value: string): void {
  try {
    writeFileSync(`/proc/sys/${name}`, value);
  } catch (error) {
    throw asLinuxError(`set the sysctl ${name} to ${value}`, error, {
      [EROFS]: `set it from outside of this container: \`sysctl -w ${name}=${value}\``,
      [ERRNO.EACCES]: `needs root: \`sudo sysctl -w ${name}=${value}\``,
    });
  }
}

const EROFS = 30; // asm-generic/errno-base.h

/**
 * Restores settings, the last one first. A setting that another program has changed since is left alone. A missing one
 * went with its device.
 */
export function undoSettings(changed: readonly ChangedSetting[]): void {
  for (const { name, before, set } of changed.toReversed()) {
    if (readSysctl(name) === set) writeSysctl(name, before);
  }
}

/** The values of those settings that exist. */
export function readSettings(names: readonly string[]): Record<string, string> {
  const found = names.map((name) => [name, readSysctl(name)] as const);
  return Object.fromEntries(found.filter((entry): entry is [string, string] => entry[1] !== undefined));
}

function asLinuxError(what: string, error: unknown, hints: Readonly<Record<number, string>> = {}): unknown {
  const number = (error as NodeJS.ErrnoException).errno;
  if (number === undefined) return error;
  return new LinuxError(what, -number, hints[-number], { cause: error });
}

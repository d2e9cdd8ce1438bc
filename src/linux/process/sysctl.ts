import { readFileSync, writeFileSync } from 'node:fs';
import { ERRNO, LinuxError } from '../ffi/errno.js';

/* Kernel settings. Their names have slashes: `net/ipv4/ip_forward`. */

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

function asLinuxError(what: string, error: unknown, hints: Readonly<Record<number, string>> = {}): unknown {
  const number = (error as NodeJS.ErrnoException).errno;
  if (number === undefined) return error;
  return new LinuxError(what, -number, hints[-number], { cause: error });
}

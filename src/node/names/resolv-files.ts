import {
  chownSync,
  closeSync,
  fchmodSync,
  fsyncSync,
  lstatSync,
  openSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { type Owner, ownerOf, withoutOurs } from './resolv-conf.js';

/*
 * /etc/resolv.conf as a file: kept, replaced, put back. A file is replaced as a whole, by rename; one that is mounted
 * into a container cannot be, and is written in place.
 */

interface Kept {
  readonly backup: string;
  /** What it says; undefined when it leads nowhere. */
  readonly text: string | undefined;
  readonly missing: boolean;
}

/** The file as it was, kept beside it or, where nothing can be made there, in the state directory. */
export function keep(path: string, stateDirectory: string, name: string): Kept {
  const text = read(path);
  const beside = `${path}.${name}`;
  const stat = lstatSync(path, { throwIfNoEntry: false });
  if (stat === undefined) {
    rmSync(beside, { force: true });
    return { backup: beside, text, missing: true };
  }
  try {
    const fresh = `${beside}.new`;
    rmSync(fresh, { force: true });
    if (stat.isSymbolicLink()) symlinkSync(readlinkSync(path), fresh);
    else writeWhole(fresh, text ?? '', stat.mode & 0o777, stat);
    renameSync(fresh, beside);
    return { backup: beside, text, missing: false };
  } catch (error) {
    if (!isReadOnly(error)) throw error;
    const backup = join(stateDirectory, `resolv.conf.${name}`);
    writeWhole(backup, text ?? '', 0o644);
    return { backup, text, missing: false };
  }
}

/** Puts the old file back where it is still as lametun wrote it, and else takes out what is lametun's. */
export function giveBack(path: string, owner: Owner & { readonly intact: boolean }, domain?: string): void {
  const { backup, missing, intact } = owner;
  const text = read(path) ?? '';
  if (!intact) {
    replace(path, withoutOurs(text, owner, domain));
    rmSync(backup, { force: true });
  } else if (missing) {
    try {
      rmSync(path, { force: true });
    } catch {
      writeFileSync(path, '');
    }
  } else if (lstatSync(backup, { throwIfNoEntry: false }) === undefined) {
    // Its guard has just put it back, or somebody has removed the old one.
    const now = read(path) ?? '';
    if (ownerOf(now)?.token === owner.token) replace(path, withoutOurs(now, owner, domain));
  } else {
    try {
      renameSync(backup, path);
    } catch {
      writeFileSync(path, readFileSync(backup)); // a mount, or on another file system
      rmSync(backup, { force: true });
    }
  }
}

/** Afterwards there is either the old file or the new one, whole; except where only writing in place is possible. */
export function replace(path: string, text: string): void {
  const fresh = `${path}.lametun-new`;
  try {
    writeWhole(fresh, text, 0o644);
    renameSync(fresh, path);
  } catch (error) {
    rmSync(fresh, { force: true });
    if (!isReadOnly(error) && (error as NodeJS.ErrnoException).code !== 'EBUSY') throw error;
    writeFileSync(path, text);
  }
}

function writeWhole(path: string, text: string, mode: number, owner?: { uid: number; gid: number }): void {
  const fd = openSync(path, 'w', mode);
  try {
    writeFileSync(fd, text);
    fchmodSync(fd, mode); // whatever the umask is: everybody reads this file
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
  if (owner !== undefined) chownSync(path, owner.uid, owner.gid);
}

export function read(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}

export const isReadOnly = (error: unknown): boolean =>
  ['EROFS', 'EACCES', 'EPERM', 'EXDEV'].includes((error as NodeJS.ErrnoException).code ?? '');

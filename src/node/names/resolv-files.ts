import {
  closeSync,
  fchmodSync,
  fchownSync,
  fstatSync,
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
 * Keeps, replaces and restores /etc/resolv.conf. A file is replaced as a whole, by rename. A file that is mounted into a
 * container cannot be renamed, and is written in place.
 */

interface Kept {
  readonly backup: string;
  /** Its content; undefined for a broken link. */
  readonly text: string | undefined;
  readonly missing: boolean;
}

/** Keeps a copy of the file beside it, or in the state directory if the folder is read-only. */
export function keep(path: string, stateDirectory: string, name: string): Kept {
  const text = read(path);
  const beside = `${path}.${name}`;
  const stat = lstatSync(path, { throwIfNoEntry: false });
  if (stat === undefined) {
    rmSync(beside, { force: true });
    return { backup: beside, text, missing: true };
  }
  const fresh = `${beside}.new`;
  try {
    rmSync(fresh, { force: true });
    if (stat.isSymbolicLink()) symlinkSync(readlinkSync(path), fresh);
    else writeWhole(fresh, text ?? '', stat.mode & 0o777, stat);
    renameSync(fresh, beside);
    return { backup: beside, text, missing: false };
  } catch (error) {
    if (!isReadOnly(error)) throw error;
    if (lstatSync(fresh, { throwIfNoEntry: false }) !== undefined) rmSync(fresh);
    const backup = join(stateDirectory, `resolv.conf.${name}`);
    writeWhole(backup, text ?? '', 0o644);
    return { backup, text, missing: false };
  }
}

/** Restores the original file if lametun's is unchanged; else removes lametun's lines from it. */
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
    // The guard has just put it back, or someone has removed the original file.
    const now = read(path) ?? '';
    if (ownerOf(now)?.token === owner.token) replace(path, withoutOurs(now, owner, domain));
  } else {
    try {
      renameSync(backup, path);
    } catch {
      writeFileSync(path, readFileSync(backup)); // it is a mount, or on another file system
      rmSync(backup, { force: true });
    }
  }
}

/** A crash leaves either the old file or the new one, unless the file can only be written in place. */
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
    fchmodSync(fd, mode); // whatever the umask is: everyone reads this file
    fsyncSync(fd);
    const { uid, gid } = fstatSync(fd);
    // As a service, it may not change owners. The file belongs to root, as a rule.
    if (owner !== undefined && (owner.uid !== uid || owner.gid !== gid)) fchownSync(fd, owner.uid, owner.gid);
  } finally {
    closeSync(fd);
  }
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

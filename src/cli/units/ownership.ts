import { lstatSync } from 'node:fs';
import { dirname } from 'node:path';
import { usage } from '../../errors.js';

/** Bits of a mode: others may write. */
const OTHERS_WRITE = 0o022;

/**
 * Checks that only root can change a program that systemd is about to run as root: its files, and all folders above them. A
 * folder where everybody may write, such as /tmp, is no place for a program, even with the sticky bit.
 *
 * @param files absolute paths without symbolic links
 * @throws LametunError `usage` that names what another user can change
 */
export function checkOwnedByRoot(files: readonly string[], stat: typeof lstatSync = lstatSync): void {
  for (const file of files) {
    for (let path = file; ; path = dirname(path)) {
      const { uid, mode } = stat(path)!;
      if (uid !== 0 || (mode & OTHERS_WRITE) !== 0) throw changeable(file, path, uid);
      if (path === dirname(path)) break;
    }
  }
}

function changeable(file: string, path: string, uid: number) {
  const why = uid === 0 ? 'users other than root can write to' : `user ${uid} owns`;
  const what = path === file ? 'it' : path;
  return usage(
    `--install: systemd would run ${file} as root, but ${why} ${what}: install lametun as root (docs/INSTALL.md says how), and use that`,
  );
}

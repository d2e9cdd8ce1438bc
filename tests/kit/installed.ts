import { cpSync, existsSync } from 'node:fs';
import { checkOwnedByRoot } from '../../src/cli/units/ownership.js';
import { MAIN } from './lametun.js';

/** Belongs to the test file alone, and to root. */
const FOLDER = '/run/lametun-installed';

/**
 * Node.js and lametun where only root can change them, as `--install` demands: in this clone, or else in a copy. Needs root.
 *
 * @returns the paths of node and of the command's script
 */
export function installedProgram(): readonly [node: string, main: string] {
  try {
    checkOwnedByRoot([process.execPath, MAIN]);
    return [process.execPath, MAIN];
  } catch {
    const copies = { node: process.execPath, dist: 'dist', node_modules: 'node_modules' };
    for (const [name, from] of Object.entries({ ...copies, 'package.json': 'package.json' }))
      if (!existsSync(`${FOLDER}/${name}`)) cpSync(from, `${FOLDER}/${name}`, { recursive: true });
    return [`${FOLDER}/node`, `${FOLDER}/dist/src/cli/main.js`];
  }
}

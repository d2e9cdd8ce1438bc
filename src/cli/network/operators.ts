import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { Option } from 'commander';
import { LametunError, usage } from '../../errors.js';
import { readOwnFile, replaceFile } from '../../linux/files/safe-files.js';
import { groupNumber } from '../../linux/process/group.js';
import type { Operators } from '../../node/control/operator-socket.js';

/** The local group that may ask the process of a state directory for its status. The name is stored there. */

const file = (state: string): string => join(state, 'operators');

/** The group of files whose own group does not exist; a container sees groups of the host so. */
const NOBODY = 65_534;

export const operatorsOption = (): Option =>
  new Option(
    '--operators <group>',
    'let members of a local group use `status`, `ping` and `nodes`',
  ).argParser((text) => {
    const problem = problemOf(groupNumber(text));
    if (problem === undefined) return text;
    throw usage(`--operators ${JSON.stringify(text)}: ${problem}`);
  });

function problemOf(group: number | undefined): string | undefined {
  if (group === undefined) return 'no such group on this machine: create it with `groupadd`, or name another';
  return group === NOBODY ? 'that group has no members: name another' : undefined;
}

/** Stores the group. @param operators false removes it; undefined changes nothing. @throws LametunError */
export function writeOperators(state: string, operators: string | false | undefined): void {
  if (operators === undefined) return;
  try {
    if (operators === false) rmSync(file(state), { force: true });
    else replaceFile(file(state), `${operators}\n`);
  } catch (error) {
    throw new LametunError('state', `cannot write ${file(state)}: ${(error as Error).message}`, {
      cause: error,
    });
  }
}

/**
 * The operators of a state directory.
 *
 * @param given undefined for the stored group
 * @returns undefined for none; a text that says why the group cannot be used
 * @throws LametunError when the file cannot be read
 */
export function operatorsOf(
  state: string,
  given: string | false | undefined,
): Operators | string | undefined {
  const name = given ?? readOwnFile(file(state))?.trim();
  if (name === undefined || name === false) return undefined;
  const group = groupNumber(name);
  const problem = problemOf(group);
  return problem === undefined
    ? { name, group: group! }
    : `cannot admit operators: --operators ${name}: ${problem}`;
}

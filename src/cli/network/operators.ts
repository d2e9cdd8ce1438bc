import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { Option } from 'commander';
import { LametunError } from '../../errors.js';
import { readOwnFile, replaceFile } from '../../linux/files/safe-files.js';
import { groupNumber } from '../../linux/process/group.js';
import type { Operators } from '../../node/control/operator-socket.js';

/** The group of the system that may look at what runs on a state directory. Its name is kept there. */

const file = (state: string): string => join(state, 'operators');

/** What files belong to whose group does not exist; a container sees such numbers of the machine's users. */
const NOBODY = 65_534;

export const operatorsOption = (): Option =>
  new Option(
    '--operators <group>',
    'let members of a group of this system use `status`, `ping` and `nodes`',
  ).argParser((text) => {
    const problem = problemOf(groupNumber(text));
    if (problem === undefined) return text;
    throw new LametunError('usage', `--operators ${JSON.stringify(text)}: ${problem}`);
  });

function problemOf(group: number | undefined): string | undefined {
  if (group === undefined) return 'this system has no such group: make it with `groupadd`, or name another';
  return group === NOBODY ? 'nobody is a member of that group: name another' : undefined;
}

/** Keeps what was given. @param operators undefined leaves it as it was. @throws LametunError */
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
 * Who may look.
 *
 * @param given undefined for what is kept
 * @returns undefined for nobody; a text says why the group cannot
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
    : `only root may look: --operators ${name}: ${problem}`;
}

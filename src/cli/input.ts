import type { EventEmitter } from 'node:events';
import type { Command, Option } from 'commander';
import { usage } from '../errors.js';
import { isShown } from '../protocol/text.js';

/**
 * Checks every option and argument of every command: values are not empty and contain only printable characters, and an
 * option for one value is not given twice. Otherwise an empty variable in a script would pass as "not given".
 */

/** Options that may be given several times. */
const REPEATABLE = new WeakSet<Option>();

export function repeatable(option: Option): Option {
  REPEATABLE.add(option);
  return option;
}

export const isRepeatable = (option: Option): boolean => REPEATABLE.has(option);

interface Given {
  readonly flag: string;
  readonly value: string | undefined;
}

/** A token is often pasted with extra text: its own parser checks it. */
const PARSED_ELSEWHERE: ReadonlySet<string> = new Set(['token']);

/** Adds these checks to a command. */
export function checkInput(command: Command): Command {
  const events = command as unknown as EventEmitter; // it is one, although its types do not say so
  const given = new Map<string, Given>();
  const flags = new Set(command.options.flatMap(({ long, short }) => [long, short]));
  for (const option of command.options) {
    const name = option.attributeName();
    const flag = option.long ?? option.flags;
    events.prependListener(`option:${option.name()}`, (value?: string) => {
      if (typeof value === 'string') {
        checkText(flag, value);
        if (flags.has(value)) throw usage(`${flag} needs a value, and ${value} is an option`);
      }
      const before = given.get(name);
      given.set(name, { flag, value });
      if (before === undefined || REPEATABLE.has(option)) return;
      if (before.flag !== flag)
        throw usage(`${before.flag} and ${flag} contradict each other: give one of them`);
      if (before.value !== value) throw usage(`${flag} is given twice: give it once`);
    });
  }
  return command.hook('preAction', () => {
    for (const [i, argument] of command.registeredArguments.entries()) {
      if (PARSED_ELSEWHERE.has(argument.name())) continue;
      const texts = argument.variadic ? command.args.slice(i) : command.args.slice(i, i + 1);
      for (const text of texts) checkText(`<${argument.name()}>`, text);
    }
  });
}

/**
 * Checks the text of an option or argument.
 *
 * @param what `--name`
 * @throws LametunError `usage` when it is empty, or contains characters that are not printable
 */
export function checkText(what: string, text: string): void {
  if (text === '') throw usage(`${what} is empty: give it a value, or leave it out`);
  if (!isShown(text)) throw usage(`${what} contains control characters: type it again without them`);
}

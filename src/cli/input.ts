import type { EventEmitter } from 'node:events';
import type { Command, Option } from 'commander';
import { LametunError } from '../errors.js';
import { isShown } from '../protocol/text.js';

/**
 * What holds for every option and argument of every command: a value has characters, all of them can be shown, and what
 * is given once only is not given twice. Without this an empty variable in a script would pass as "not given".
 */

/** Options that collect what they are given. */
const REPEATABLE = new WeakSet<Option>();

export function repeatable(option: Option): Option {
  REPEATABLE.add(option);
  return option;
}

interface Given {
  readonly flag: string;
  readonly value: string | undefined;
}

/** A token is pasted, with whatever came along: its own parser looks at it. */
const PARSED_ELSEWHERE: ReadonlySet<string> = new Set(['token']);

/** Makes a command refuse what it would otherwise overlook. */
export function checkInput(command: Command): Command {
  const events = command as unknown as EventEmitter; // it is one, and its types do not say so
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
 * Checks a text that was typed.
 *
 * @param what `--name`
 * @throws LametunError `usage` when it is empty, or has characters that are not shown
 */
export function checkText(what: string, text: string): void {
  if (text === '') throw usage(`${what} is empty: give it a value, or leave it out`);
  if (!isShown(text)) throw usage(`${what} has control characters in it: type it again without them`);
}

const usage = (message: string): LametunError => new LametunError('usage', message);

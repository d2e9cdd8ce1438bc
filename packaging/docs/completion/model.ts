import { OPTIONS } from '../../../src/cli/lametund-usage.js';
import {
  type CommandText,
  commandTexts,
  type OptionText,
  plainTexts,
  rootOptions,
  type Values,
} from '../definitions.js';

/** What a completion script completes. */
export interface CompletionModel {
  readonly commands: readonly CommandText[];
  /** What can stand in place of a command. */
  readonly plain: readonly OptionText[];
  /** Options of lametund. */
  readonly daemon: readonly OptionText[];
}

export const completionModel = (): CompletionModel => ({
  commands: commandTexts(),
  plain: [...rootOptions(), ...plainTexts()],
  daemon: OPTIONS.map(({ name, about }) => ({
    ...{ names: name.split(', '), about, values: 'none', isRepeatable: false, excludes: [] },
  })),
});

/**
 * The options that have a value, and what the value is. A name means the same in every command.
 *
 * @throws Error when it does not
 */
export function valuedOptions(options: readonly OptionText[]): ReadonlyMap<string, Values> {
  const found = new Map<string, Values>();
  for (const { names, value, values } of options) {
    for (const name of value === undefined ? [] : names) {
      if ((found.get(name) ?? values) !== values)
        throw new Error(`${name} has different values in different commands`);
      found.set(name, values);
    }
  }
  return found;
}

/** The names by what their values are. */
export function byValues(valued: ReadonlyMap<string, Values>): readonly (readonly [Values, string[]])[] {
  const groups = new Map<Values, string[]>();
  for (const [name, values] of valued) groups.set(values, [...(groups.get(values) ?? []), name]);
  return [...groups];
}

/** The head of each script. */
export const HEAD = `# Completion for lametun and lametund, made from their options.
#
# Names of nodes come from other machines: no text from lametun is ever evaluated, and words with other characters than
# letters, digits and ._- are left out.`;

import { type Argument, type Command, Help, type Option } from 'commander';
import { buildProgram } from '../../src/cli/command-line.js';
import { isRepeatable } from '../../src/cli/input.js';
import { PLAIN_FLAGS } from '../../src/cli/plain-options.js';

/** What a shell offers for a value. `stored`: what `lametun complete COMMAND` prints. */
export type Values = 'none' | 'files' | 'folders' | 'groups' | 'hosts' | 'devices' | 'sockets' | 'stored';

/** An option as the help shows it. */
export interface OptionText {
  /** `-c`, `--count`. */
  readonly names: readonly string[];
  /** The name of its value. */
  readonly value?: string | undefined;
  readonly about: string;
  readonly values: Values;
  readonly isRepeatable: boolean;
  /** Other options that cannot be given with it. */
  readonly excludes: readonly string[];
}

export interface ArgumentText {
  /** `node`. */
  readonly name: string;
  /** `<node>`, `[token]`, `[networks...]`. */
  readonly term: string;
  readonly about: string;
  readonly values: Values;
}

export interface CommandText {
  readonly name: string;
  readonly group: string;
  readonly about: string;
  readonly options: readonly OptionText[];
  readonly args: readonly ArgumentText[];
}

const help = new Help();

/** All commands that `lametun --help` lists, and `help`. */
export function commandTexts(): readonly CommandText[] {
  return help.visibleCommands(buildProgram()).map((command) => ({
    name: command.name(),
    group: (command.helpGroup() || 'Other commands:').replace(/:$/, ''),
    about: help.commandDescription(command),
    options: optionTexts(command),
    args: command.registeredArguments.map((argument) => argumentText(command.name(), argument)),
  }));
}

/** The options of `lametun` itself. */
export const rootOptions = (): readonly OptionText[] => optionTexts(buildProgram());

function optionTexts(command: Command): OptionText[] {
  const all = help.visibleOptions(command);
  return all.map((option) => ({
    names: [option.short, option.long].filter((name) => name !== undefined),
    value: valueName(option),
    about: help.optionDescription(option),
    values: valuesOf(OPTION_VALUES, valueName(option)),
    isRepeatable: isRepeatable(option),
    excludes: all
      .filter((other) => other !== option && other.attributeName() === option.attributeName())
      .map(({ long, flags }) => long ?? flags),
  }));
}

const valueName = ({ flags }: Option): string | undefined => /[<[](.+)[\]>]$/.exec(flags)?.[1];

function argumentText(command: string, argument: Argument): ArgumentText {
  const name = argument.name();
  return {
    name,
    term: term(argument),
    about: help.argumentDescription(argument),
    values: valuesOf(ARGUMENT_VALUES, `${command} ${name}`),
  };
}

function term(argument: Argument): string {
  const name = `${argument.name()}${argument.variadic ? '...' : ''}`;
  return argument.required ? `<${name}>` : `[${name}]`;
}

/** The flags of the plain tunnel. */
export const plainTexts = (): readonly OptionText[] =>
  Object.entries(PLAIN_FLAGS).map(([name, spec]) => {
    const value = 'value' in spec ? spec.value : undefined;
    return {
      names: [`-${name}`],
      value,
      about: spec.help,
      values: valuesOf(FLAG_VALUES, value),
      isRepeatable: spec.type === 'strings',
      excludes: [],
    };
  });

/** What each value is, by the name in its option's flags. */
const OPTION_VALUES: Readonly<Record<string, Values>> = {
  dir: 'folders',
  file: 'files',
  url: 'files',
  group: 'groups',
  bytes: 'none',
  'host[:port]': 'hosts',
  n: 'none',
  name: 'none',
  network: 'none',
  node: 'none',
  number: 'none',
  time: 'none',
};

/** The same for arguments, by command and name. */
const ARGUMENT_VALUES: Readonly<Record<string, Values>> = {
  'join token': 'none',
  'ping node': 'stored',
  'share network': 'none',
  'trust node': 'stored',
  'revoke invite': 'stored',
  'approve node': 'stored',
  'rename node': 'stored',
  'rename name': 'none',
  'remove node': 'stored',
  'backup file': 'files',
  'restore file': 'files',
  'drops interface': 'sockets',
  'help command': 'none',
};

/** The same for the flags of the plain tunnel. */
const FLAG_VALUES: Readonly<Record<string, Values>> = {
  HOST: 'hosts',
  N: 'none',
  NAME: 'devices',
  CIDR: 'none',
  BYTES: 'none',
  IP: 'none',
};

/** @throws Error for a value that is not in the table, so that a new one is not forgotten */
function valuesOf(table: Readonly<Record<string, Values>>, name: string | undefined): Values {
  if (name === undefined) return 'none';
  const values = table[name];
  if (values === undefined) throw new Error(`packaging/docs/definitions.ts: no values for "${name}"`);
  return values;
}

import { type LametunError, usage } from '../errors.js';
import { checkText } from './input.js';

/** One flag: the type of its value in Go's words, and its help. */
export interface FlagSpec {
  readonly type: 'bool' | 'int' | 'string' | 'strings';
  readonly help: string;
  /** The name of the value in the usage text. */
  readonly value?: string;
}

type Value<S extends FlagSpec> = S['type'] extends 'bool'
  ? boolean
  : S['type'] extends 'int'
    ? number
    : S['type'] extends 'string'
      ? string
      : readonly string[];
export type FlagValues<S extends Readonly<Record<string, FlagSpec>>> = {
  -readonly [K in keyof S]?: Value<S[K]>;
};

/**
 * Parses arguments by the grammar of Go's package `flag`, which the post's program uses: `-x`, `--x`, `-x=v`
 * and, except for booleans, `-x v`. Unlike Go, this ignores nothing: extra words are an error (after `-listen
 * true`, Go drops every flag that follows), and so are an empty value and a flag that is given twice.
 *
 * @throws LametunError `usage`
 */
export function parseGoFlags<const S extends Readonly<Record<string, FlagSpec>>>(
  specs: S,
  args: readonly string[],
): FlagValues<S> {
  const values: Record<string, unknown> = {};
  const set = (name: string, value: unknown): void => {
    if (Object.hasOwn(values, name) && values[name] !== value)
      throw usage(`-${name} is given twice: give it once`);
    values[name] = value;
  };
  const rest = [...args];
  for (let arg = rest.shift(); arg !== undefined; arg = rest.shift()) {
    const match = /^--?([^-=][^=]*)(?:=([\s\S]*))?$/.exec(arg);
    if (match === null) throw leftOver(arg);
    const name = match[1]!;
    const spec = Object.hasOwn(specs, name) ? specs[name] : undefined;
    if (spec === undefined) throw usage(`flag provided but not defined: -${name}`);
    let text = match[2];
    if (spec.type === 'bool') {
      set(name, parseBool(name, text ?? 'true'));
      continue;
    }
    text ??= rest.shift();
    if (text === undefined) throw usage(`flag needs an argument: -${name}`);
    if (spec.type === 'int') {
      set(name, parseInteger(name, text));
      continue;
    }
    checkText(`-${name}`, text);
    if (spec.type === 'string') set(name, text);
    else values[name] = [...((values[name] as string[] | undefined) ?? []), text];
  }
  return values as FlagValues<S>;
}

function leftOver(arg: string): LametunError {
  if (arg.startsWith('-')) return usage(`bad flag syntax: ${arg}`);
  return usage(
    `unexpected argument "${arg}": every option begins with -, and booleans are set as -x or -x=true`,
  );
}

const TRUE = ['1', 't', 'T', 'true', 'TRUE', 'True'];
const FALSE = ['0', 'f', 'F', 'false', 'FALSE', 'False'];

function parseBool(name: string, text: string): boolean {
  if (TRUE.includes(text)) return true;
  if (FALSE.includes(text)) return false;
  throw usage(`invalid boolean value "${text}" for -${name}: parse error`);
}

/** Go's base 0: decimal, 0x, 0o or a leading 0, 0b; an underscore may stand between digits. */
const INTEGER = /^([+-]?)(0x(?:_?[0-9a-f])+|0b(?:_?[01])+|0o?(?:_?[0-7])+|0|[1-9](?:_?[0-9])*)$/i;

function parseInteger(name: string, text: string): number {
  const match = INTEGER.exec(text);
  const digits = match?.[2]?.replaceAll('_', '').replace(/^0(?=[0-7])/, '0o');
  const value = Number(digits) * (match?.[1] === '-' ? -1 : 1);
  if (Number.isSafeInteger(value)) return value;
  throw usage(`invalid value "${text}" for flag -${name}: parse error`);
}

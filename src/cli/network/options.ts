import { hostname } from 'node:os';
import { resolve } from 'node:path';
import { Command, Option } from 'commander';
import { usage } from '../../errors.js';
import { formatCidr, networkOf, parseCidr } from '../../ip/cidr.js';
import { isLabel, LABEL_RULE, toLabel } from '../../protocol/label.js';
import { repeatable } from '../input.js';

export const DEFAULT_STATE = '/var/lib/lametun';

export const stateOption = (): Option =>
  new Option('--state <dir>', 'use this state directory')
    .default(DEFAULT_STATE, DEFAULT_STATE)
    .argParser((text) => resolve(text));

export const interfaceOption = (): Option =>
  new Option(
    '--interface <name>',
    'name the interface (default: the first free one of lametun0, lametun1, ...)',
  ).argParser((name) => {
    if (/^[a-zA-Z0-9_=+.-]{1,15}$/.test(name) && name !== '.' && name !== '..') return name;
    throw usage(
      `--interface ${JSON.stringify(name)} is not a valid interface name: use 1 to 15 letters, digits or _=+.-`,
    );
  });

export const jsonOption = (): Option => new Option('--json', 'print JSON, one object per line');

/** The options of every command that asks a running process. */
export interface Common {
  readonly state: string;
  readonly json?: boolean;
}

export const command = (name: string, about: string): Command =>
  new Command(name)
    .description(about)
    .addOption(stateOption())
    .addOption(jsonOption())
    .allowExcessArguments(false);

/** An option that may be given several times, or as a list with commas. */
export const listOption = (
  flags: string,
  about: string,
  parse: (option: string, text: string) => string = (_, text) => text,
): Option => {
  const option = repeatable(new Option(flags, about));
  return option.argParser((text: string, before: readonly string[] = []) =>
    collect(option.long!, text, before, parse),
  );
};

/** @throws LametunError `usage` when an entry is empty, or given twice */
export function collect(
  option: string,
  text: string,
  before: readonly string[] = [],
  parse: (option: string, text: string) => string = (_, part) => part,
): readonly string[] {
  const all = [...before];
  for (const part of text.split(',')) {
    if (part === '') throw usage(`${option} ${text} has an empty entry: remove the extra comma`);
    const entry = parse(option, part);
    if (all.includes(entry)) throw usage(`${option} ${entry} is given twice: give it once`);
    all.push(entry);
  }
  return all;
}

/** A network from an argument, in the hub's notation. @throws LametunError `usage` */
export function givenNetwork(option: string, text: string): string {
  const cidr = parseCidr(text);
  if (cidr === undefined)
    throw usage(`${option} ${JSON.stringify(text)} is not a network: write it as 192.168.1.0/24`);
  const network = formatCidr(networkOf(cidr));
  if (network === formatCidr(cidr)) return network;
  throw usage(`${option} ${text} is an address in a network: did you mean ${network}?`);
}

/** A name from an argument: accepted unchanged, or refused. */
export function givenLabel(option: string, text: string): string {
  if (isLabel(text)) return text;
  const suggestion = toLabel(text);
  throw usage(
    `${option} ${JSON.stringify(text)} is not valid: ${LABEL_RULE}${suggestion === undefined ? '' : `, such as "${suggestion}"`}`,
  );
}

/** A node as administrators name it: by name or number. */
export function givenNode(text: string): string {
  if (isLabel(text)) return text;
  throw usage(`no node ${JSON.stringify(text)}: \`lametun nodes\` lists them`);
}

/** The default name of this node. */
export const ownLabel = (): string => toLabel(hostname()) ?? 'node';

export function portOption(flags: string, about: string): Option {
  return new Option(flags, about).argParser((text) => {
    const port = Number(text);
    if (/^\d{1,5}$/.test(text) && port >= 1 && port <= 65535) return port;
    throw usage(`${flags.split(' ')[0]} ${text} is not a port: give a number from 1 to 65535`);
  });
}

const UNITS: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3600, d: 86_400 };

/** `30m`, `24h`, `7d`. @returns seconds */
export function parseDuration(option: string, text: string): number {
  const [, number, unit] = /^(\d{1,6})([smhd])$/.exec(text) ?? [];
  const seconds = Number(number) * (UNITS[unit ?? ''] ?? Number.NaN);
  if (seconds >= 1 && seconds <= 366 * 86_400) return seconds;
  throw usage(`${option} ${text} is not a valid time: write it as 30m, 24h or 7d, at most a year`);
}

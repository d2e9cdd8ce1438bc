import { isAbsolute, resolve } from 'node:path';
import { Command, Option } from 'commander';
import { usage } from '../../errors.js';
import { parseRange } from '../../hub/membership/ranges.js';
import type { Token } from '../../protocol/token.js';
import { commandFor } from '../../self.js';
import type { Installed } from '../units/install.js';
import { type DatabaseFlags, databaseOf, withDatabaseOptions } from './database.js';
import { decide, type Given, type Plan, type StartCommand } from './decide.js';
import { detach, isDetached } from './detach.js';
import { operatorsOption } from './operators.js';
import {
  givenLabel,
  givenNetwork,
  interfaceOption,
  jsonOption,
  listOption,
  portOption,
  stateOption,
} from './options.js';

/** The commands that start something and keep running: `serve`, `join`, `hub`, `up`. */
export function startCommands(): Command[] {
  return [serveCommand(), joinCommand(), hubCommand(), upCommand()];
}

interface Flags extends DatabaseFlags, Omit<Given, 'token' | 'database'> {
  readonly state: string;
  readonly json?: boolean;
  readonly verbose?: boolean;
}

const command = (name: string, about: string): Command =>
  new Command(name)
    .description(about)
    .addOption(stateOption())
    .option('--detach', 'run in the background')
    .option('--install', 'run as a systemd service, now and after every boot')
    .addOption(operatorsOption())
    .option('--no-operators', 'allow only root to ask for the status (default)')
    .option('--verbose', 'print more details')
    .addOption(jsonOption())
    .allowExcessArguments(false);

const withHubOptions = (built: Command): Command =>
  withDatabaseOptions(built, 'use a database: postgres://USER@HOST/NAME, or an SQLite file')
    .option('--network <name>', 'name the network (default: home)', (name) => givenLabel('--network', name))
    .addOption(portOption('--port <number>', 'set the TCP and UDP port of the hub (default: 443)'))
    .addOption(listOption('--public <host[:port]>', 'set the outside address of this hub; repeatable'))
    .addOption(new Option('--key <file>', "keep the hub's private key in this file").argParser(absolute))
    .option('--ask', 'require approval for each new node')
    .option('--no-ask', 'admit every node with a token (default)')
    .option('--mtu <bytes>', 'set the MTU of a new network, 1280 to 1420 (default: 1280)', parseMtu)
    .option(
      '--range <network>',
      'set the IPv4 range of a new network (default: a random /15 of 10.0.0.0/8)',
      parseRange,
    )
    .option('--new-network', 'start another network, and keep the old one in replaced-DATE');

const withNodeOptions = (built: Command): Command =>
  built
    .addOption(interfaceOption())
    .option('--name <node>', 'name this node (default: the host name)', (name) => givenLabel('--name', name))
    .addOption(
      listOption('--share <network>', 'share a network behind this machine; repeatable', givenNetwork),
    );

function serveCommand(): Command {
  return withNodeOptions(
    withHubOptions(command('serve', 'start a network, with this machine as hub and member')),
  ).action((flags: Flags, self: Command) => start(self, 'serve', flags));
}

function joinCommand(): Command {
  return withNodeOptions(command('join', 'join a network'))
    .argument('[token]', 'token from `lametun serve` or `lametun invite`; - reads it from standard input')
    .option('--token-file <file>', 'read the token from a file')
    .action(
      async (typed: string | undefined, flags: Flags & { readonly tokenFile?: string }, self: Command) => {
        const { readToken } = await import('./token-input.js');
        await start(self, 'join', flags, readToken(typed, flags.tokenFile));
      },
    );
}

function hubCommand(): Command {
  return withHubOptions(command('hub', 'start a network, with this machine as hub only')).action(
    (flags: Flags, self: Command) => start(self, 'hub', flags),
  );
}

function upCommand(): Command {
  return command('up', 'start the hub or node of the state directory again')
    .addOption(interfaceOption())
    .action((flags: Flags, self: Command) => start(self, 'up', flags));
}

/** The process changes its folder later. */
const absolute = (file: string): string => resolve(file);

function parseMtu(text: string): number {
  const mtu = Number(text);
  if (/^\d{4}$/.test(text) && mtu >= 1280 && mtu <= 1420) return mtu;
  throw usage(`--mtu ${text}: give a number from 1280 to 1420, so that relayed packets fit every path`);
}

/** Starts in this process, in the background, or with systemd. */
async function start(command: Command, name: StartCommand, flags: Flags, token?: Token): Promise<void> {
  const { readSituation } = await import('./situation.js');
  const { state, json = false, verbose = false, install = false } = flags;
  const given: Given = { ...flags, token, database: databaseOf(flags) };
  const plan = decide(name, given, readSituation(state));
  if (plan.readdress !== undefined) return readdress(flags, plan.readdress);
  if (flags.detach && !isDetached()) {
    process.exitCode = await detachedStart(command, token);
    return;
  }
  const enable = install ? await prepareUnit(state, plan, verbose) : undefined;
  if (plan.hub?.database !== undefined) process.title = 'lametun'; // `ps` would show a password
  process.chdir('/'); // a long-running program must not keep a folder in use
  const { run } = await import('./run.js');
  const status = await run(state, plan, { json, verbose, once: install });
  if (status === 0 && enable !== undefined) await printInstalled(enable(), json);
  process.exit(status); // nothing that still waits is needed
}

async function readdress({ state, json }: Flags, { hub, addresses }: Token): Promise<void> {
  const { askOnce, print } = await import('./ask.js');
  const hubKey = Buffer.from(hub).toString('base64');
  const answer = await askOnce<'readdress'>(state, { command: 'readdress', hubKey, addresses });
  print(json, { event: 'readdressed', ...answer }, () => {
    const places = addresses.map(({ host, port }) => `${host.includes(':') ? `[${host}]` : host}:${port}`);
    return `${answer.name} of network ${answer.network} is running, and now looks for its hub at ${places.join(', ')}`;
  });
}

/** Passes the token to the background process on its standard input: other users can see arguments. */
async function detachedStart(command: Command, token: Token | undefined): Promise<number> {
  const args = process.argv.slice(2);
  if (token === undefined) return detach(args);
  const { formatToken } = await import('../../protocol/token.js');
  return detach(['join', '-', ...withoutToken(command, args.slice(1))], formatToken(token));
}

/** The arguments of `join` without the token and its source. */
function withoutToken(command: Command, args: readonly string[]): string[] {
  const valued = new Set(command.options.filter(({ required }) => required).map(({ long }) => long));
  const kept: string[] = [];
  for (let i = 0; i < args.length; i++) {
    const arg = args[i]!;
    if (arg === '--token-file') i++;
    else if (valued.has(arg)) kept.push(arg, args[++i] ?? '');
    else if (arg.startsWith('--') && !arg.startsWith('--token-file=')) kept.push(arg);
  }
  return kept;
}

/**
 * Chooses the unit of `--install`: that of a package if it fits, otherwise one of our own.
 *
 * @returns what enables it, once the network is known to work
 * @throws LametunError `usage` before anything is changed, if users other than root can change the program
 */
async function prepareUnit(state: string, plan: Plan, verbose: boolean): Promise<() => Installed> {
  const { enablePackaged, install, packagedUnit } = await import('../units/install.js');
  const files = filesOutside(state, plan);
  const packaged = verbose || files.length > 0 ? undefined : packagedUnit(state);
  if (packaged !== undefined) return () => enablePackaged(state, packaged);
  const { checkOwnedByRoot } = await import('../units/ownership.js');
  const { networkUnit } = await import('../units/unit-text.js');
  const program = commandFor('cli/main');
  checkOwnedByRoot(program.filter(isAbsolute));
  const command = [...program, 'up', '--state', state, ...(verbose ? ['--verbose'] : [])];
  return () => install(networkUnit({ state, command, files }));
}

/** The files of a hub that are not in its state directory. */
const filesOutside = (state: string, { hub }: Plan): string[] =>
  [hub?.key, hub?.database].filter(
    (file) => file !== undefined && isAbsolute(file) && !file.startsWith(`${state}/`),
  ) as string[];

async function printInstalled({ name, path, started }: Installed, json: boolean): Promise<void> {
  const { print } = await import('./ask.js');
  print(json, { event: 'installed', unit: name, path, started }, () => {
    const first = path !== undefined ? `Wrote ${path}.` : started ? `Enabled ${name}.` : `Found ${name}.`;
    return started
      ? `${first} systemd runs it; for its state, run: systemctl status ${name}`
      : `${first} systemd is not running here; once it is, run: systemctl enable --now ${name}`;
  });
}

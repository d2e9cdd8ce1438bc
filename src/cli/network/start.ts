import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Command, Option } from 'commander';
import { LametunError } from '../../errors.js';
import { parseRange } from '../../hub/membership/ranges.js';
import type { Token } from '../../protocol/token.js';
import { type DatabaseFlags, databaseOf, withDatabaseOptions } from './database.js';
import { decide, type Given, type StartCommand } from './decide.js';
import { operatorsOption } from './operators.js';
import {
  givenLabel,
  givenNetwork,
  interfaceOption,
  jsonOption,
  listOption,
  portOption,
  stateOption,
} from './place.js';

/** The commands that start something, and stay: `serve`, `join`, `hub`, `up`. */
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
    .option('--detach', 'return when it is up, and leave it in the background')
    .option('--install', 'have systemd run it, now and after every boot')
    .addOption(operatorsOption())
    .option('--no-operators', 'let nobody but root look, as at first')
    .option('--verbose', 'say more of what happens')
    .addOption(jsonOption())
    .allowExcessArguments(false);

const withHubOptions = (built: Command): Command =>
  withDatabaseOptions(built, 'postgres://USER@HOST/NAME in place of a file')
    .option('--network <name>', 'what the network is called (default: "home")', (name) =>
      givenLabel('--network', name),
    )
    .addOption(portOption('--port <number>', 'the TCP and UDP port of the hub, 443 if nothing is said'))
    .addOption(
      listOption('--public <host[:port]>', 'the address by which others reach this machine; repeatable'),
    )
    .addOption(new Option('--key <file>', "where the hub's private key is kept").argParser(absolute))
    .option('--ask', 'an administrator lets every node in')
    .option('--no-ask', 'whoever has an invitation is in, as at first')
    .option('--mtu <bytes>', 'of a new network: 1280 to 1420', parseMtu)
    .option(
      '--range <network>',
      'IPv4 addresses of a new network (default: a random /15 of 10.0.0.0/8)',
      parseRange,
    )
    .option('--new-network', 'begin another network, and keep what is here in replaced-DATE');

const withNodeOptions = (built: Command): Command =>
  built
    .addOption(interfaceOption())
    .option('--name <node>', 'what this machine is called (default: its host name)', (name) =>
      givenLabel('--name', name),
    )
    .addOption(
      listOption(
        '--share <network>',
        'offer a network behind this machine to the others; repeatable',
        givenNetwork,
      ),
    );

function serveCommand(): Command {
  return withNodeOptions(withHubOptions(command('serve', 'begin a network, with this machine in it'))).action(
    (flags: Flags, self: Command) => start(self, 'serve', flags),
  );
}

function joinCommand(): Command {
  return withNodeOptions(command('join', 'make this machine a member of a network'))
    .argument(
      '[token]',
      'as `lametun serve` or `lametun invite` prints it; - reads it from the standard input',
    )
    .option('--token-file <file>', 'read it from a file')
    .action(
      async (typed: string | undefined, flags: Flags & { readonly tokenFile?: string }, self: Command) => {
        const { readToken } = await import('./token-input.js');
        await start(self, 'join', flags, readToken(typed, flags.tokenFile));
      },
    );
}

function hubCommand(): Command {
  return withHubOptions(
    command('hub', 'begin a network whose hub is this machine, without being in it'),
  ).action((flags: Flags, self: Command) => start(self, 'hub', flags));
}

function upCommand(): Command {
  return command('up', 'start again what the state directory holds')
    .addOption(interfaceOption())
    .action((flags: Flags, self: Command) => start(self, 'up', flags));
}

/** Later the process is in another folder. */
const absolute = (file: string): string => resolve(file);

function parseMtu(text: string): number {
  const mtu = Number(text);
  if (/^\d{4}$/.test(text) && mtu >= 1280 && mtu <= 1420) return mtu;
  throw new LametunError(
    'usage',
    `--mtu ${text}: 1280 to 1420 bytes, so that relayed packets fit everywhere`,
  );
}

/** In this process, in the background, or by systemd. */
async function start(command: Command, name: StartCommand, flags: Flags, token?: Token): Promise<void> {
  const { detach, isDetached } = await import('./detach.js');
  const { readSituation } = await import('./situation.js');
  const { state, json = false, verbose = false, install = false } = flags;
  const given: Given = { ...flags, token, database: databaseOf(flags) };
  const plan = decide(name, given, readSituation(state));
  if (plan.readdress !== undefined) return readdress(flags, plan.readdress);
  if (flags.detach && !isDetached()) {
    process.exitCode = await detachedStart(command, detach, token);
    return;
  }
  if (plan.hub?.database !== undefined) process.title = 'lametun'; // where `ps` would show a password
  process.chdir('/'); // a program that runs for long holds no folder
  const { run } = await import('./run.js');
  const status = await run(state, plan, { json, verbose, once: install });
  if (status !== 0 || !install) process.exit(status); // whatever still waits, waits in vain
  await installUnit(state, verbose, json);
}

async function readdress({ state, json }: Flags, { hub, addresses }: Token): Promise<void> {
  const { askOnce, print } = await import('./ask.js');
  const hubKey = Buffer.from(hub).toString('base64');
  const answer = await askOnce<'readdress'>(state, { command: 'readdress', hubKey, addresses });
  print(json, { event: 'readdressed', ...answer }, () => {
    const places = addresses.map(({ host, port }) => `${host.includes(':') ? `[${host}]` : host}:${port}`);
    return `${answer.name} of the network ${answer.network} runs, and looks for its hub at ${places.join(', ')} from now on`;
  });
}

/** The token goes to the background by its standard input: others can see arguments. */
async function detachedStart(
  command: Command,
  detach: typeof import('./detach.js').detach,
  token: Token | undefined,
): Promise<number> {
  const args = process.argv.slice(2);
  if (token === undefined) return detach(args);
  const { formatToken } = await import('../../protocol/token.js');
  return detach(['join', '-', ...withoutToken(command, args.slice(1))], formatToken(token));
}

/** What was typed behind `join`, less the token and where it was read from. */
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

async function installUnit(state: string, verbose: boolean, json: boolean): Promise<void> {
  const { install, unitFor } = await import('./unit.js');
  const main = fileURLToPath(new URL('../main.js', import.meta.url));
  const unit = unitFor({ state }, [
    ...[process.execPath, main, 'up', '--state', state],
    ...(verbose ? ['--verbose'] : []),
  ]);
  const { path, started } = install(unit);
  const { print } = await import('./ask.js');
  print(json, { event: 'installed', path, started }, () =>
    started
      ? `${path} is written, and systemd runs it: systemctl status ${unit.name}`
      : `${path} is written. No systemd runs here; where one does: systemctl enable --now ${unit.name}`,
  );
  process.exit(0);
}

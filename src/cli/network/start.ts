import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Command, Option } from 'commander';
import { LametunError } from '../../errors.js';
import { parseRange } from '../../hub/ranges.js';
import { type DatabaseFlags, databaseOf, withDatabaseOptions } from './database.js';
import { type HubSettings, hasHub, readHubSettings, settingsFor } from './hub-settings.js';
import {
  deviceOption,
  givenLabel,
  givenNetwork,
  jsonOption,
  listOption,
  ownLabel,
  type Place,
  portOption,
  stateOption,
} from './place.js';

/** The commands that start something, and stay: `serve`, `join`, `hub`, `up`. */
export function startCommands(): Command[] {
  return [serveCommand(), joinCommand(), hubCommand(), upCommand()];
}

interface Common extends Place {
  readonly json?: boolean;
  readonly detach?: boolean;
  readonly install?: boolean;
  readonly verbose?: boolean;
}

interface HubFlags extends DatabaseFlags {
  readonly network?: string;
  readonly port?: number;
  readonly public?: readonly string[];
  readonly key?: string;
  readonly ask?: boolean;
  readonly mtu?: number;
  readonly range?: string;
}

interface NodeFlags {
  readonly name?: string;
  readonly share?: readonly string[];
}

const HUB_PORT = 443;

const command = (name: string, about: string): Command =>
  new Command(name)
    .description(about)
    .addOption(stateOption())
    .addOption(deviceOption())
    .option('--detach', 'return when it is up, and leave it in the background')
    .option('--install', 'have systemd run it, now and after every boot')
    .option('--verbose', 'say more of what happens')
    .addOption(jsonOption())
    .allowExcessArguments(false);

const withHubOptions = (built: Command): Command =>
  withDatabaseOptions(built, 'postgres://USER@HOST/NAME in place of a file')
    .option('--network <name>', 'what the network is called (default: "home")', (name) =>
      givenLabel('--network', name),
    )
    .addOption(
      portOption('--port <number>', `the TCP and UDP port of the hub, ${HUB_PORT} if nothing is said`),
    )
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
    );

const withNodeOptions = (built: Command): Command =>
  built
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
    async (flags: Common & HubFlags & NodeFlags) => {
      await start(flags, {
        hub: hubSettings(flags),
        invite: true,
        node: { name: flags.name ?? ownLabel(), shares: flags.share ?? [] },
      });
    },
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
      async (given: string | undefined, flags: Common & NodeFlags & { readonly tokenFile?: string }) => {
        const { readToken } = await import('./token-input.js');
        const token = readToken(given, flags.tokenFile);
        await start(flags, {
          node: { name: flags.name ?? ownLabel(), shares: flags.share ?? [], join: token },
        });
      },
    );
}

function hubCommand(): Command {
  return withHubOptions(
    command('hub', 'begin a network whose hub is this machine, without being in it'),
  ).action(async (flags: Common & HubFlags) => {
    await start(flags, { hub: hubSettings(flags) });
  });
}

function upCommand(): Command {
  return command('up', 'start again what the state directory holds').action(async (flags: Common) => {
    const hub = hasHub(flags.state) ? readHubSettings(flags.state) : undefined;
    await start(flags, { hub, node: 'if-member' });
  });
}

/** What is not said is as it was: else `serve`, typed again, would open a network that asks, or move its port. */
const hubSettings = ({
  state,
  port,
  public: addresses,
  network,
  key,
  ask,
  mtu,
  range,
  ...flags
}: Common & HubFlags): HubSettings =>
  settingsFor(
    state,
    {
      ...{ port, public: addresses?.length ? addresses : undefined, network, key, ask, mtu, range },
      database: databaseOf(flags),
    },
    HUB_PORT,
  );

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

type Plan = import('./run.js').Plan;

/** In this process, in the background, or by systemd. */
async function start(flags: Common, plan: Plan): Promise<void> {
  const { detach, isDetached } = await import('./detach.js');
  if (flags.detach && !isDetached()) {
    process.exitCode = await detachedStart(detach, plan);
    return;
  }
  if (plan.hub?.database !== undefined) process.title = 'lametun'; // where `ps` would show a password
  process.chdir('/'); // a program that runs for long holds no folder
  const { run } = await import('./run.js');
  const place: Place = { state: flags.state, device: flags.device };
  const status = await run(place, plan, {
    json: flags.json ?? false,
    verbose: flags.verbose ?? false,
    once: flags.install ?? false,
  });
  if (status !== 0 || !flags.install) process.exit(status); // whatever still waits, waits in vain
  await installUnit(place, flags.json);
}

/** The token goes to the background by its standard input: others can see arguments. */
async function detachedStart(detach: typeof import('./detach.js').detach, plan: Plan): Promise<number> {
  const args = process.argv.slice(2);
  const token = typeof plan.node === 'object' ? plan.node.join : undefined;
  if (token === undefined) return detach(args);
  const { formatToken } = await import('../../wire/token.js');
  return detach(['join', '-', ...withoutToken(args.slice(1))], formatToken(token));
}

/** What was typed behind `join`, less the token and where it was read from. */
function withoutToken(args: readonly string[]): string[] {
  const kept: string[] = [];
  for (let i = 0; i < args.length; i++) {
    const arg = args[i]!;
    if (arg === '--token-file') i++;
    else if (VALUED.has(arg)) kept.push(arg, args[++i] ?? '');
    else if (arg.startsWith('--') && !arg.startsWith('--token-file=')) kept.push(arg);
  }
  return kept;
}

/** The options of `join` that have a value behind them. */
const VALUED: ReadonlySet<string> = new Set(['--state', '--device', '--name', '--share']);

async function installUnit(place: Place, json: boolean | undefined): Promise<void> {
  const { install, unitFor } = await import('./unit.js');
  const main = fileURLToPath(new URL('../main.js', import.meta.url));
  const unit = unitFor(place, [
    process.execPath,
    main,
    'up',
    '--state',
    place.state,
    '--device',
    place.device,
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

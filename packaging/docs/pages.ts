import { DETAILS } from '../../src/cli/details.js';
import { DEFAULT_STATE } from '../../src/cli/network/options.js';
import { type CommandText, commandTexts, type OptionText, plainTexts, rootOptions } from './definitions.js';
import { lametundPage } from './lametund-page.js';
import {
  bold,
  examples,
  italic,
  page,
  paragraphs,
  prose,
  references,
  type Source,
  section,
  sentence,
  subsection,
  terms,
} from './roff.js';

/** The manual pages by their file names, `lametun-serve.1`. */
export function manualPages(source: Source): ReadonlyMap<string, string> {
  const commands = commandTexts().filter(({ name }) => name !== 'help');
  return new Map([
    ['lametun.1', mainPage(commands, source)],
    ...commands.map((command) => [`lametun-${command.name}.1`, commandPage(command, source)] as const),
    ['lametund.8', lametundPage(source)],
  ]);
}

function commandPage(command: CommandText, source: Source): string {
  const { about, seeAlso, examples: shown } = DETAILS[command.name]!;
  const name = `lametun-${command.name}`;
  const others = seeAlso.map((other) => [`lametun-${other}`, 1] as const);
  const daemon = command.name === 'drops' ? ([['lametund', 8]] as const) : [];
  const args = command.args.map(({ name, about }) => [italic(name), sentence(about)] as const);
  return page(name, 1, source, [
    ...section('NAME', [`${name.replaceAll('-', '\\-')} \\- ${prose(command.about).join(' ')}`]),
    ...section('SYNOPSIS', [[bold(`lametun ${command.name}`), ...synopsis(command)].join(' ')]),
    ...section('DESCRIPTION', paragraphs(about)),
    ...section('OPTIONS', [...terms(args), ...terms(command.options.map(optionTerm))]),
    ...section('EXIT STATUS', terms(EXIT)),
    ...section('FILES', command.options.some(({ names }) => names.includes('--state')) ? terms(STATE) : []),
    ...section('ENVIRONMENT', terms(environment(command))),
    ...section('EXAMPLES', examples(shown)),
    ...section('SEE ALSO', references([['lametun', 1], ...others, ...daemon])),
  ]);
}

const synopsis = ({ args }: CommandText): string[] => [
  `[${italic('option')} ...]`,
  ...args.map(({ name, term }) => {
    const text = term.includes('...') ? `${italic(name)} ...` : italic(name);
    return term.startsWith('[') ? `[${text}]` : text;
  }),
];

function optionTerm({ names, value, about }: OptionText): readonly [string, string] {
  const term = names.map(bold).join(', ');
  return [value === undefined ? term : `${term} ${italic(value)}`, sentence(about)];
}

function mainPage(commands: readonly CommandText[], source: Source): string {
  const groups = [...new Set(commands.map(({ group }) => group))];
  const usage = (rest: string, values = ''): string => `${bold(`lametun${rest}`)}${values}`;
  const options = ` [${italic('option')} ...]`;
  return page('lametun', 1, source, [
    ...section('NAME', ['lametun \\- a VPN that explains itself']),
    ...section('SYNOPSIS', [
      usage('', ` ${italic('command')}${options}`),
      '.br',
      usage(' -listen', options),
      '.br',
      usage(' -server', ` ${italic('HOST')}${options}`),
    ]),
    ...section('DESCRIPTION', paragraphs(ABOUT)),
    ...section('COMMANDS', [
      ...prose('Each command has a page of its own, such as `lametun-serve`(1).'),
      ...groups.flatMap((group) =>
        subsection(
          group,
          terms(
            commands
              .filter((command) => command.group === group)
              .map(({ name, about }) => [bold(name), sentence(about)] as const),
          ),
        ),
      ),
    ]),
    ...section('OPTIONS', [
      ...terms(rootOptions().map(optionTerm)),
      ...subsection('The plain tunnel', [...paragraphs(PLAIN), ...terms(plainTexts().map(optionTerm))]),
    ]),
    ...section('EXIT STATUS', terms(EXIT)),
    ...section('FILES', terms([...STATE, ...FILES])),
    ...section('ENVIRONMENT', terms([...DATABASE_VARIABLES, ...OFFLOADS])),
    ...section('EXAMPLES', examples(EXAMPLES)),
    ...section('SECURITY', prose('Nobody has audited this code.')),
    ...section(
      'SEE ALSO',
      references([...commands.map(({ name }) => [`lametun-${name}`, 1] as const), ...OTHERS]),
    ),
  ]);
}

const ABOUT = [
  'lametun connects machines over the internet. They reach each other by name, encrypted end to end, even behind NATs. `lametun serve` starts a network on one machine, and `lametun join` makes other machines its members. Members find direct paths to each other. Where there is none, the hub relays their packets, which it cannot read.',
  'Almost all commands need root. Those that start something run in the foreground, unless `--detach` or `--install` is given. The others ask the process that runs on the same state directory.',
  '`lametun demo` shows how a tunnel works. If the first argument begins with -, lametun is the plain tunnel of the blog post "VPNs from first principles", which has no encryption.',
];

const PLAIN = [
  'These options are for the plain tunnel. They are written as in the flag package of Go: `-x`, `--x`, `-x=value` or `-x value`. Pass `-listen` on the side with a public address, and `-server` on the other.',
];

const EXIT = [
  ['0', 'Success.'],
  [
    '1',
    'Something failed: a port or the state directory is in use, a file is damaged, nothing runs, or the hub refused.',
  ],
  [
    '2',
    'The arguments need a change: an unknown option or node, a wrong state directory, or a missing `sudo`.',
  ],
] as const;

const STATE = [
  [italic(DEFAULT_STATE), 'The state directory, unless `--state` names another. Only root can read it.'],
] as const;

const FILES = [
  [italic(`${DEFAULT_STATE}/node.key`), 'The private key of the node.'],
  [
    italic(`${DEFAULT_STATE}/hub.key`),
    'The private key of the hub. Anyone with this file can act as the hub.',
  ],
  [italic(`${DEFAULT_STATE}/hub.json`), 'The options of the hub, which may include a database password.'],
  [italic(`${DEFAULT_STATE}/hub.sqlite`), 'The data of the hub, unless it is in PostgreSQL.'],
  [italic(`${DEFAULT_STATE}/lametun.log`), 'The messages of a process in the background.'],
  [
    italic('/etc/resolv.conf'),
    'Replaced while lametun runs, unless systemd-resolved does the work, and restored later.',
  ],
] as const;

const DATABASE_VARIABLES = [
  [
    `${bold('PGPASSWORD')}, ${bold('PGPASSFILE')}`,
    'The password of the database, or the file with it, if `--database` names a PostgreSQL server.',
  ],
] as const;

const OFFLOADS = [
  [bold('LAMETUN_OFFLOADS'), 'The offloads that the plain tunnel may use. `lametund`(8) describes them.'],
] as const;

const environment = ({ options }: CommandText) =>
  options.some(({ names }) => names.includes('--database')) ? DATABASE_VARIABLES : [];

const EXAMPLES = [
  { run: 'lametun serve', does: 'start a network on the first machine' },
  { run: 'lametun join TOKEN', does: 'join it on another, with the token that `serve` printed' },
  { run: 'lametun status', does: 'show the members, and the paths to them' },
  { run: 'lametun -listen -address 10.0.0.1/24 -forward', does: 'run the plain tunnel in the office' },
  {
    run: 'lametun -server office.example.com -address 10.0.0.2/24 -route 192.168.50.0/24',
    does: 'run its other side at home',
  },
];

const OTHERS = [
  ['lametund', 8],
  ['wg', 8],
] as const;

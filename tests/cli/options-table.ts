import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Plan } from '../../src/cli/network/decide.js';

/**
 * What each option of the start commands does, by the content of the state directory, while no process uses it: true if it
 * takes effect (`effect` checks it), or the message that refuses it. While a process uses the directory, all are refused as
 * busy, except a token that tells a member its hub's new address. `options.test.ts` checks every row, and that no option is
 * missing.
 */

export type Holding = 'fresh' | 'member' | 'hub' | 'both';

export interface Row {
  readonly option: string;
  /** The value; undefined for an option without one. */
  readonly value?: string;
  readonly effect?: (plan: Plan) => unknown;
  readonly on: Readonly<Record<Holding, true | RegExp>>;
  /** The result of `join` on a running member with a token of its network; busy otherwise. */
  readonly running?: true | RegExp;
}

const everywhere = { fresh: true, member: true, hub: true, both: true } as const;

// The results of the commands without an option.
const NO_HUB = /^this machine is already node anna of network home, whose hub is elsewhere: pass --state DIR/;
const BOTH =
  /^this machine is also node anna of network home: run `lametun up --state \/s` to start both, or `lametun leave --state \/s`/;
const HAS_HUB =
  /^\/s contains the hub of home: run `lametun up --state \/s` to start it, or pass --state DIR/;
const NOTHING =
  /^\/s contains no network: run `lametun serve --state \/s` or `lametun join --state \/s TOKEN`/;
const RENAME =
  /^--name bert: this node is already called anna .*: an administrator can run `lametun rename anna bert`/;
const NO_INTERFACE = /^--interface wg7: \/s contains a hub and no member/;

const STOP_FIRST = /does not change a running node: run `lametun down` first/;
const WHILE_RUNNING: Readonly<Record<string, true | RegExp>> = {
  '--name bert': RENAME,
  '--name anna': true,
  '--share 10.9.0.0/24': /^--share does not change a running node: run `lametun share 10.9.0.0\/24`/,
  '--interface wg7': STOP_FIRST,
};

/** Options for output and for running the process; they apply only to this start. */
const ways = (on: Row['on']): Row[] => [
  { option: '--state', value: '/s', on },
  { option: '--json', on },
  { option: '--verbose', on },
  { option: '--detach', on },
  { option: '--install', on },
  { option: '--operators', value: 'root', effect: ({ operators }) => operators === 'root', on },
  { option: '--no-operators', effect: ({ operators }) => operators === false, on },
];

const hubOptions = (on: Row['on'], kept: Row['on']): Row[] => [
  { option: '--network', value: 'home', effect: ({ hub }) => hub?.network === 'home', on },
  {
    option: '--network',
    value: 'work',
    effect: ({ hub }) => hub?.network === 'work',
    on: refusedWhereTrue(
      kept,
      /^--network work: this hub's network is called home, and the name cannot change/,
    ),
  },
  {
    option: '--mtu',
    value: '1400',
    effect: ({ hub }) => hub?.mtu === 1400,
    on: refusedWhereTrue(kept, /^--mtu 1400: the network home has an MTU of 1280, which cannot change/),
  },
  { option: '--range', value: '10.6.0.0/15', effect: ({ hub }) => hub?.range === '10.6.0.0/15', on },
  {
    option: '--range',
    value: '10.8.0.0/15',
    effect: ({ hub }) => hub?.range === '10.8.0.0/15',
    on: refusedWhereTrue(
      kept,
      /^--range 10\.8\.0\.0\/15: the network home has the range 10\.6\.0\.0\/15, which/,
    ),
  },
  { option: '--port', value: '8443', effect: ({ hub }) => hub?.port === 8443, on },
  { option: '--public', value: 'h.example', effect: ({ hub }) => hub?.public[0] === 'h.example', on },
  { option: '--key', value: '/k', effect: ({ hub }) => hub?.key === '/k', on },
  { option: '--ask', effect: ({ hub }) => hub?.ask === true, on },
  { option: '--no-ask', effect: ({ hub }) => hub?.ask === false, on },
  { option: '--new-network', effect: ({ newNetwork }) => newNetwork === true, on },
  { option: '--database', value: '/d', effect: ({ hub }) => hub?.database === '/d', on },
  { option: '--database-file', value: 'FILE', effect: ({ hub }) => hub?.database === 'postgres://u@h/d', on },
];

/** @param kept for state directories that already contain a hub's network */
function refusedWhereTrue(kept: Row['on'], message: RegExp): Row['on'] {
  const changed = Object.entries(kept).map(([holding, is]) => {
    const hasHub = holding === 'hub' || holding === 'both';
    return [holding, is === true && hasHub ? message : is];
  });
  return Object.fromEntries(changed) as Row['on'];
}

const nodeOptions = (on: Row['on']): Row[] => {
  const isMember = (holding: Holding): boolean => holding === 'member' || holding === 'both';
  const unlessMember = (message: RegExp): Row['on'] =>
    Object.fromEntries(
      Object.entries(on).map(([holding, is]) => [
        holding,
        is === true && isMember(holding as Holding) ? message : is,
      ]),
    ) as Row['on'];
  return [
    {
      option: '--name',
      value: 'bert',
      effect: ({ node }) => node?.kind === 'join' && node.name === 'bert',
      on: unlessMember(RENAME),
    },
    { option: '--name', value: 'anna', on },
    {
      option: '--share',
      value: '10.9.0.0/24',
      effect: ({ node }) => node?.shares?.[0] === '10.9.0.0/24',
      on,
    },
    { option: '--interface', value: 'wg7', effect: ({ node }) => node?.interface === 'wg7', on },
  ];
};

const SERVE = { ...everywhere, member: NO_HUB };
const HUB = { fresh: true, member: NO_HUB, hub: true, both: BOTH } as const;
const JOIN = { fresh: true, member: true, hub: HAS_HUB, both: HAS_HUB } as const;
const UP = { ...everywhere, fresh: NOTHING };

export const START_TABLE: Readonly<Record<'serve' | 'hub' | 'join' | 'up', readonly Row[]>> = {
  serve: [...ways(SERVE), ...hubOptions(SERVE, SERVE), ...nodeOptions(SERVE)],
  hub: [...ways(HUB), ...hubOptions(HUB, HUB)],
  join: [
    ...ways(JOIN).map(
      (row) => ({ ...row, running: /install|operators/.test(row.option) ? STOP_FIRST : true }) as const,
    ),
    ...nodeOptions(JOIN).map((row) => ({ ...row, running: WHILE_RUNNING[`${row.option} ${row.value}`]! })),
    { option: '--token-file', value: 'TOKEN-FILE', on: JOIN, running: true },
  ],
  up: [
    ...ways(UP),
    {
      option: '--interface',
      value: 'wg7',
      effect: ({ node }) => node?.interface === 'wg7',
      on: { ...UP, hub: NO_INTERFACE },
    },
  ],
};

/** The process that uses the state directory. */
export type Process = 'none' | 'node' | 'hub' | 'both';

/** An option of a command that sends a request to a process, and its effect on the request; `undefined` for output options. */
export interface AskRow {
  readonly line: readonly string[];
  /** The options on the command line. */
  readonly options?: readonly string[];
  /** The request. */
  readonly asks: object;
}

/** Stands for a new file in the state directory. */
export const IN_STATE = 'a new file in the state directory';

const NOT_HUB = /^the hub is on another machine: make the backup there$/;
const NOT_NODE = /^this machine is a hub and not a member/;
const ANY = { node: true, hub: true, both: true } as const;
const MEMBER = { node: true, hub: NOT_NODE, both: true } as const;
const HUB_ONLY = { node: NOT_HUB, hub: true, both: true } as const;

const admin = (op: string, more: object = {}): object => ({ command: 'admin', request: { op, ...more } });
const invite = (more: object): object =>
  admin('invite', { expires: 86_400, reusable: false, admin: false, shares: [], ...more });

/** Without a process, all are refused: `no lametun is running on DIR`. */
export const ASK_TABLE: Readonly<
  Record<
    string,
    { readonly on: Readonly<Record<Exclude<Process, 'none'>, true | RegExp>>; readonly rows: AskRow[] }
  >
> = {
  status: {
    on: MEMBER,
    rows: [
      { line: [], asks: { command: 'status' } },
      { line: ['--watch'], asks: { command: 'watch' } },
    ],
  },
  ping: {
    on: MEMBER,
    rows: [
      { line: ['anna', '-c', '2'], options: ['--count'], asks: { command: 'ping', node: 'anna', count: 2 } },
    ],
  },
  share: {
    on: MEMBER,
    rows: [
      { line: [], asks: { command: 'share' } },
      { line: ['--none'], asks: { command: 'share', shares: [] } },
      { line: ['10.9.0.0/24'], asks: { command: 'share', shares: ['10.9.0.0/24'] } },
    ],
  },
  trust: { on: MEMBER, rows: [{ line: ['anna'], asks: { command: 'trust', node: 'anna' } }] },
  invite: {
    on: ANY,
    rows: [
      { line: [], asks: invite({}) },
      { line: ['--expires', '2h'], asks: invite({ expires: 7200 }) },
      { line: ['--reusable'], asks: invite({ reusable: true }) },
      { line: ['--uses', '3'], asks: invite({ reusable: true, uses: 3 }) },
      { line: ['--admin'], asks: invite({ admin: true }) },
      { line: ['--share', '10.9.0.0/24'], asks: invite({ shares: ['10.9.0.0/24'] }) },
    ],
  },
  invites: { on: ANY, rows: [{ line: [], asks: admin('invites') }] },
  revoke: { on: ANY, rows: [{ line: ['7a'], asks: admin('revoke', { invite: '7a' }) }] },
  nodes: { on: ANY, rows: [{ line: [], asks: admin('nodes') }] },
  approve: {
    on: ANY,
    rows: [
      { line: ['anna'], asks: admin('approve', { node: 'anna' }) },
      {
        line: ['anna', '--share', '10.9.0.0/24'],
        asks: admin('approve', { node: 'anna', shares: ['10.9.0.0/24'] }),
      },
    ],
  },
  rename: {
    on: ANY,
    rows: [{ line: ['anna', 'bert'], asks: admin('rename', { node: 'anna', name: 'bert' }) }],
  },
  remove: {
    on: ANY,
    rows: [
      { line: ['anna'], asks: admin('remove', { node: 'anna', force: false }) },
      { line: ['anna', '--force'], asks: admin('remove', { node: 'anna', force: true }) },
    ],
  },
  backup: {
    on: HUB_ONLY,
    rows: [{ line: [join(tmpdir(), 'lametun-backup')], asks: { command: 'backup', file: IN_STATE } }],
  },
};

/** Tested elsewhere: `demo` and `drops` have no state directory; `down`, `leave` and `restore` are tested with real ones. */
export const OTHER_OPTIONS: Readonly<Record<string, readonly string[]>> = {
  down: [],
  leave: ['--force'],
  backup: ['--database', '--database-file'],
  restore: ['--database', '--database-file', '--replace'],
  demo: ['--pcap', '--keep', '--step', '--record'],
  drops: [],
};

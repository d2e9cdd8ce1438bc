import type { Plan } from '../../src/cli/network/decide.js';

/**
 * What each option of the commands that begin something does, by what the state directory holds while nothing runs on it:
 * true for an effect (`effect` says which), or the message by which it is refused. While something runs on it all of them
 * are refused as busy, but for a token that tells a member where its hub is. `options.test.ts` walks it, and fails when a command has an option that is not in here.
 */

export type Holding = 'fresh' | 'member' | 'hub' | 'both';

export interface Row {
  readonly option: string;
  /** What is typed; without it, the option alone. */
  readonly value?: string;
  readonly effect?: (plan: Plan) => unknown;
  readonly on: Readonly<Record<Holding, true | RegExp>>;
  /** Of `join` on a member that runs, with a token of its network; else that is busy. */
  readonly running?: true | RegExp;
}

const everywhere = { fresh: true, member: true, hub: true, both: true } as const;

// By command: what it does without an option.
const NO_HUB = /^this machine is anna of the network home, whose hub is elsewhere: --state DIR/;
const BOTH = /^this machine is also anna of the network home: `lametun up` starts hub and member/;
const HAS_HUB = /^\/s holds the hub of home: `lametun up` starts it, and --state DIR joins another/;
const NOTHING = /^\/s holds no network: begin with `lametun serve` or `lametun join TOKEN`/;
const RENAME =
  /^--name bert: .* is called anna .*: an administrator renames it by `lametun rename anna bert`/;
const NO_INTERFACE = /^--device wg7: \/s holds a hub and no member/;

const STOP_FIRST = /anna of the network home runs: `lametun down` stops it first/;
const WHILE_RUNNING: Readonly<Record<string, true | RegExp>> = {
  '--name bert': RENAME,
  '--name anna': true,
  '--share 10.9.0.0/24': /^--share: anna .* runs: change this by `lametun share 10.9.0.0\/24`/,
  '--device wg7': STOP_FIRST,
};

/** Options of the output, and of how the process runs: they are nobody's but this start's. */
const ways = (on: Row['on']): Row[] => [
  { option: '--state', value: '/s', on },
  { option: '--json', on },
  { option: '--verbose', on },
  { option: '--detach', on },
  { option: '--install', on },
];

const hubOptions = (on: Row['on'], kept: Row['on']): Row[] => [
  { option: '--network', value: 'home', effect: ({ hub }) => hub?.network === 'home', on },
  {
    option: '--network',
    value: 'work',
    effect: ({ hub }) => hub?.network === 'work',
    on: refusedWhereTrue(kept, /^--network work: this hub's network is called home, which cannot change/),
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

/** @param kept where a hub has its network already */
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
    { option: '--device', value: 'wg7', effect: ({ node }) => node?.device === 'wg7', on },
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
      (row) => ({ ...row, running: row.option === '--install' ? STOP_FIRST : true }) as const,
    ),
    ...nodeOptions(JOIN).map((row) => ({ ...row, running: WHILE_RUNNING[`${row.option} ${row.value}`]! })),
    { option: '--token-file', value: 'TOKEN-FILE', on: JOIN, running: true },
  ],
  up: [
    ...ways(UP),
    {
      option: '--device',
      value: 'wg7',
      effect: ({ node }) => node?.device === 'wg7',
      on: { ...UP, hub: NO_INTERFACE },
    },
  ],
};

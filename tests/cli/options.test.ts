import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import type { Command } from 'commander';
import { commandGroups } from '../../src/cli/commands.js';
import { databaseOf } from '../../src/cli/network/database.js';
import {
  decide,
  decideLeave,
  type Given,
  type Situation,
  type StartCommand,
} from '../../src/cli/network/decide.js';
import { whyNot } from '../../src/cli/network/handler.js';
import { readToken } from '../../src/cli/network/token-input.js';
import { packageVersion } from '../../src/cli/package-version.js';
import { LametunError } from '../../src/errors.js';
import { serveControl } from '../../src/node/control/control-server.js';
import type { StoredNode } from '../../src/node/machine/stored.js';
import { formatToken, type Token } from '../../src/protocol/token.js';
import { ASK_TABLE, type Holding, IN_STATE, OTHER_OPTIONS, type Row, START_TABLE } from './options-table.js';

const HUB_KEY = new Uint8Array(32).fill(7);
const TOKEN: Token = {
  hub: HUB_KEY,
  secret: new Uint8Array(16),
  addresses: [{ host: '192.0.2.9', port: 443, tls: false }],
};
const member: StoredNode = {
  network: { id: 'n', name: 'home', ipv4: '10.7.0.0/16', ipv6: 'fd07::/64', mtu: 1280 },
  you: {
    ...{ id: 1, name: 'anna', ipv4: '10.7.0.1', ipv6: 'fd07::1', admin: false, pending: false },
    shares: [],
  },
  hub: {
    key: Buffer.from(HUB_KEY).toString('base64'),
    addresses: [{ host: '192.0.2.1', port: 443, tls: false }],
    proven: [],
  },
  ...{ port: 4000, interface: 'lametun0', shares: [] },
};
const hub = { port: 443, public: [], network: 'home', mtu: 1280, range: '10.6.0.0/15' };
const SITUATIONS: Readonly<Record<Holding, Situation>> = {
  fresh: { state: '/s' },
  member: { state: '/s', member },
  hub: { state: '/s', hub },
  both: { state: '/s', hub, member },
};

const COMMANDS = commandGroups().flatMap(({ commands }) => commands);
const optionsOf = (command: Command): string[] => command.options.map(({ long, flags }) => long ?? flags);

/** The options as the command's own parser returns them. */
function parse(name: string, args: readonly string[]): Given {
  const command = commandGroups()
    .flatMap(({ commands }) => commands)
    .find((each) => each.name() === name)!;
  let given: Given = {};
  command.exitOverride().action((...all: unknown[]) => {
    const [flags, typed] = all.slice(-2, -1).concat(name === 'join' ? all.slice(0, 1) : []) as [
      Given & { tokenFile?: string },
      string | undefined,
    ];
    given = { ...flags, database: databaseOf(flags as object), token: readToken(typed, flags.tokenFile) };
  });
  command.parse([...args], { from: 'user' });
  return given;
}

function refusal(command: StartCommand, given: Given, situation: Situation): LametunError | undefined {
  try {
    decide(command, given, situation);
    return undefined;
  } catch (error) {
    assert.ok(error instanceof LametunError, String(error));
    return error;
  }
}

const BUSY = /^\/s is in use by process 12: run `lametun down --state \/s` first$/;

test('each option of a start command takes effect or is refused, in every state of the directory', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'lametun-options-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const files: Readonly<Record<string, string>> = {
    FILE: join(folder, 'database'),
    'TOKEN-FILE': join(folder, 'token'),
  };
  writeFileSync(files['FILE']!, 'postgres://u@h/d\n', { mode: 0o600 });
  writeFileSync(files['TOKEN-FILE']!, formatToken(TOKEN));
  let cells = 0;
  for (const [name, rows] of Object.entries(START_TABLE) as [StartCommand, readonly Row[]][]) {
    for (const { option, value, effect, on, running } of rows) {
      const typed = value === undefined ? [option] : [option, files[value] ?? value];
      const token = name === 'join' && option !== '--token-file' ? [formatToken(TOKEN)] : [];
      const given = parse(name, [...typed, ...token]);
      for (const [holding, expected] of Object.entries(on) as [Holding, true | RegExp][]) {
        const cell = `${name} ${typed.join(' ')}, ${holding}`;
        const situation = SITUATIONS[holding];
        const error = refusal(name, given, situation);
        if (expected === true) {
          assert.equal(error, undefined, cell);
          if (effect !== undefined) assert.ok(effect(decide(name, given, situation)), cell);
        } else {
          assert.match(error?.message ?? '', expected, cell);
          assert.equal(error?.code, 'usage', cell);
        }
        const busy = { ...situation, process: 12 };
        const says = (running && name === 'join' && holding === 'member' && running) || BUSY;
        const isDone = says === true && decide(name, given, busy).readdress !== undefined;
        if (says !== true) assert.match(refusal(name, given, busy)?.message ?? '', says, cell);
        else assert.ok(isDone, cell);
        cells += 2;
      }
    }
  }
  t.diagnostic(`${cells} cells`);
});

test('no option is missing from the tables', () => {
  for (const command of COMMANDS) {
    const name = command.name();
    const asked = ASK_TABLE[name]?.rows.flatMap(({ line, options = line }) => options) ?? [];
    const listed = [
      ...(START_TABLE[name as StartCommand] ?? []).map(({ option }) => option),
      ...asked.filter((word) => word.startsWith('--')),
      ...(OTHER_OPTIONS[name] ?? []),
    ];
    const known = START_TABLE[name as StartCommand] === undefined ? ['--state', '--json'] : [];
    const options = optionsOf(command).filter((option) => !known.includes(option));
    assert.deepEqual(new Set(options), new Set(listed), name);
  }
});

/** Runs a command in this process, and returns its output. */
async function typed(name: string, line: readonly string[]): Promise<string> {
  const command = commandGroups()
    .flatMap(({ commands }) => commands)
    .find((each) => each.name() === name)!;
  const { write } = process.stdout;
  let said = '';
  // Lines that are not JSON come from the test runner.
  process.stdout.write = ((chunk: string | Uint8Array): boolean => {
    if (typeof chunk !== 'string' || !chunk.startsWith('{')) return write.call(process.stdout, chunk);
    said += chunk;
    return true;
  }) as typeof write;
  try {
    await command.exitOverride().parseAsync([...line], { from: 'user' });
  } finally {
    process.stdout.write = write;
  }
  return said;
}

test('each option of the other commands is in the request, or is refused by the process, or for lack of one', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'lametun-options-'));
  t.after(() => rmSync(folder, { recursive: true }));
  let runs = { hub: false, node: false };
  let asked: unknown;
  const server = await serveControl(
    folder,
    async (request, answer) => {
      const why = whyNot(request.command, runs);
      if (why !== undefined) throw new LametunError('usage', why);
      asked = request;
      if (request.command === 'backup' && dirname(request.file) === folder) {
        writeFileSync(request.file, '', { flag: 'wx' });
        asked = { ...request, file: IN_STATE };
      }
      answer({ rttMs: 1 });
    },
    packageVersion(),
  );
  t.after(() => server.close());
  const processes = {
    node: { hub: false, node: true },
    hub: { hub: true, node: false },
    both: { hub: true, node: true },
  };
  for (const [name, { on, rows }] of Object.entries(ASK_TABLE)) {
    for (const { line, asks } of rows) {
      for (const [process, expected] of Object.entries(on)) {
        runs = processes[process as keyof typeof processes];
        const run = typed(name, [...line, '--json', '--state', folder]);
        const cell = `${name} ${line.join(' ')}, ${process}`;
        if (expected === true) {
          assert.match(await run, /^\{.*\}\n$/, cell);
          assert.deepEqual(asked, asks, cell);
        } else await assert.rejects(run, { code: 'usage', message: expected }, cell);
      }
    }
  }
  await server.close();
  for (const [name, { rows }] of Object.entries(ASK_TABLE)) {
    for (const { line } of rows) {
      const says = name === 'backup' ? /^no hub to back up here/ : /^no lametun is running on .*: run/;
      await assert.rejects(typed(name, [...line, '--state', folder]), { message: says }, name);
    }
  }
});

test('leave asks the running process, or tells the hub itself, unless this machine’s own hub is not running', () => {
  const { fresh, both, hub: hubAlone, member: alone } = SITUATIONS;
  for (const force of [false, true]) {
    assert.equal(decideLeave(force, { ...alone, process: 12 }), 'ask');
    assert.equal(decideLeave(force, { ...both, process: 12 }), 'ask');
    assert.equal(decideLeave(force, alone), 'here');
    assert.throws(() => decideLeave(force, fresh), /contains no network: there is nothing to leave/);
    assert.throws(() => decideLeave(force, hubAlone), /is a hub and not a member: there is nothing to leave/);
  }
  assert.throws(
    () => decideLeave(false, both),
    /`lametun up --detach --state \/s` first, or leave with --force/,
  );
  assert.equal(decideLeave(true, both), 'here');
});

test('options that are not given keep their stored values, or get their defaults', () => {
  const before = { ...hub, port: 8443, public: ['h.example'], ask: true, database: '/d', key: '/k' };
  assert.deepEqual(decide('serve', {}, { state: '/s', hub: before, member }), {
    hub: { ...before, network: undefined, mtu: undefined, range: undefined },
    invite: true,
    node: { kind: 'resume' },
  });
  assert.deepEqual(decide('hub', {}, { state: '/s' }).hub?.port, 443);
});

test('up does not repeat the properties of the network, because a restored backup may have others', () => {
  const { network, mtu, range } = decide('up', {}, SITUATIONS.both).hub!;
  assert.deepEqual([network, mtu, range], [undefined, undefined, undefined]);
});

test('a token of the same network gives the hub’s addresses, and one of another network is refused', () => {
  const { node } = decide('join', { token: TOKEN }, SITUATIONS.member);
  assert.deepEqual(node, { kind: 'resume', addresses: TOKEN.addresses });
  const other = { ...TOKEN, hub: new Uint8Array(32).fill(8) };
  assert.match(
    refusal('join', { token: other }, SITUATIONS.member)!.message,
    /is already node anna of network home, and the token is for another network: run `lametun leave`.*--state DIR/,
  );
});

test('join needs a token', () => {
  assert.match(refusal('join', {}, SITUATIONS.fresh)!.message, /no token given: run `lametun join TOKEN`/);
  assert.match(
    refusal('join', {}, SITUATIONS.member)!.message,
    /no token given, .*run `lametun up --state \/s` to start it/,
  );
});

test('--detach and --install contradict each other', () => {
  for (const command of ['serve', 'hub', 'join', 'up'] as const)
    assert.match(
      refusal(command, { detach: true, install: true, token: TOKEN }, SITUATIONS.member)!.message,
      /^--detach and --install contradict each other: give one of them/,
    );
});

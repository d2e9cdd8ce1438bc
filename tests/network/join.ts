import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join as joinPath } from 'node:path';
import type { TestContext } from 'node:test';
import type { StoredEndpoints } from '../../src/node/machine/stored.js';
import type { Machine } from '../kit/network-lab.js';
import type { Running } from '../kit/running.js';
import { until } from '../kit/wait.js';

/** The command that `serve` and `invite` print for the other machine. */
export const JOIN_LINE = /^lametun join (\S+)$/m;

/** Starts `lametun serve` on a machine, and returns the token that it printed. */
export async function serve(
  machine: Machine,
  ...options: readonly string[]
): Promise<{ hub: Running; token: string }> {
  const hub = machine.start('serve', '--network', 'home', '--name', machine.name, ...options);
  const [, token] = await hub.says(JOIN_LINE);
  return { hub, token: token! };
}

/** Starts `lametun hub` on a machine, without a node. */
export async function hubAlone(machine: Machine, ...options: readonly string[]): Promise<Running> {
  const hub = machine.start('hub', ...options);
  await hub.says(/is up/);
  return hub;
}

/** `lametun invite` on the hub's machine. */
export function invite(machine: Machine, ...options: readonly string[]): string {
  const { status, stdout, stderr } = machine.lametun('invite', '--json', ...options);
  assert.equal(status, 0, stderr);
  return (JSON.parse(stdout) as { token: string }).token;
}

/** Starts `lametun join` on a machine. */
export const join = (machine: Machine, token: string, ...options: readonly string[]): Running =>
  machine.start('join', token, '--name', machine.name, ...options);

/** Waits until a node has saved the direct endpoints of these peers: a killed node starts again with them. */
export async function hasSavedEndpoints(machine: Machine, ...others: readonly string[]): Promise<void> {
  const { peers } = await machine.status();
  const file = joinPath(machine.state, 'endpoints.json');
  const written = (): StoredEndpoints => (existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : []);
  for (const other of others) {
    const { id } = peers.find(({ name }) => name === other)!;
    await until(`${machine.name} to save the endpoint of ${other}`, () =>
      written().some(({ node }) => node === id),
    );
  }
}

/** From Enter to the first reply by name: the promise to users. Milliseconds. */
const PROMISE = 5_000;
/** What the tests add for busy machines. Milliseconds. */
const SLACK = 10_000;
/** A machine that starts lametun slowly is slow in everything: the limit also allows for this many starts. */
const STARTS = 10;

/**
 * By when a removed node is cut off, milliseconds: 2 s, the promise to users, and 6 s for busy machines. A member that was
 * not told at once would notice only at its next keepalive to the hub, after 15 s.
 */
export const CUT_OFF = 8_000;

/**
 * Runs a command on one machine, and pings another one by name until it replies.
 *
 * @returns milliseconds from the command to the reply
 */
export async function firstAnswer(
  t: TestContext,
  machine: Machine,
  command: () => Running,
  name: string,
): Promise<number> {
  const started = performance.now();
  machine.lametun('--version');
  const patience = PROMISE + SLACK + STARTS * (performance.now() - started);
  const start = performance.now();
  const running = command();
  for (;;) {
    if (machine.pings(name, 1)) break;
    const elapsed = performance.now() - start;
    assert.ok(running.running, `the command ended: ${running.stdout}${running.stderr}`);
    assert.ok(
      elapsed < patience,
      `no reply from ${name} within ${elapsed} ms: ${running.stdout}${running.stderr}`,
    );
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  const elapsed = performance.now() - start;
  t.diagnostic(`first reply after ${Math.round(elapsed)} ms`);
  return elapsed;
}

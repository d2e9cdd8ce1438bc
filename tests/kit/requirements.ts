import { spawnSync } from 'node:child_process';
import { accessSync, closeSync, constants, openSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import type { TestContext } from 'node:test';
import { whatIsMissing } from '../../src/demo/machine.js';
import { howToGet } from '../../src/linux/process/program.js';
import { postgresPrograms } from './postgres.js';

/** When `1`, a test that cannot run on this machine fails. */
export const MUST_RUN_VARIABLE = 'LAMETUN_TESTS_MUST_RUN';

/** The beginning of the message of a test that is skipped because of the machine. */
export const COULD_NOT_RUN = 'could not run: ';

/** `demo`: all that `lametun demo` needs. `root`: user id 0. `tun`: /dev/net/tun opens. `netns`: `ip netns add` works. `postgres`: the PostgreSQL server programs. Anything else: the program of that name. */
export type Requirement = 'demo' | 'root' | 'tun' | 'netns' | 'postgres' | (string & {});

/**
 * Returns whether a test can run on this machine, and skips it when it cannot:
 *
 *     test('...', (t) => {
 *       if (!needs(t, 'netns', 'tun', 'nft')) return;
 *
 * @throws Error when something is missing and `LAMETUN_TESTS_MUST_RUN` is `1`
 */
export function needs(t: Pick<TestContext, 'skip'>, ...requirements: readonly Requirement[]): boolean {
  for (const requirement of requirements) {
    const why = whyMissing(requirement);
    if (why === undefined) continue;
    const message = `${COULD_NOT_RUN}${why}`;
    if (process.env[MUST_RUN_VARIABLE] === '1') throw new Error(message);
    t.skip(message);
    return false;
  }
  return true;
}

/** What is missing and how to get it, or undefined. Checked once per process. */
function whyMissing(requirement: Requirement): string | undefined {
  if (!findings.has(requirement)) {
    const check = CHECKS[requirement];
    findings.set(requirement, check === undefined ? whyNoProgram(requirement) : check());
  }
  return findings.get(requirement);
}

const findings = new Map<Requirement, string | undefined>();

const CHECKS: Readonly<Record<string, () => string | undefined>> = {
  demo: whatIsMissing,
  root: () => (process.geteuid?.() === 0 ? undefined : 'needs root: run the tests with sudo'),
  tun: () => {
    try {
      closeSync(openSync('/dev/net/tun', 'r+'));
      return undefined;
    } catch (error) {
      return `cannot open /dev/net/tun (${(error as NodeJS.ErrnoException).code}): run modprobe tun, and run the tests with sudo`;
    }
  },
  postgres: () =>
    postgresPrograms() === undefined ? `needs PostgreSQL: ${howToGet('postgresql')}` : undefined,
  netns: () => {
    const missing = whyNoProgram('ip');
    if (missing !== undefined) return missing;
    const name = `lametun-probe-${process.pid}`;
    const made = spawnSync('ip', ['netns', 'add', name], { encoding: 'utf8' });
    if (made.status !== 0) {
      return `cannot create network namespaces (${made.stderr.trim()}): run the tests with sudo, in a container with --privileged`;
    }
    spawnSync('ip', ['netns', 'del', name]);
    return undefined;
  },
};

function whyNoProgram(program: string): string | undefined {
  // Debian keeps ip and nft in sbin, which is not on every user's path.
  const folders = `${process.env['PATH'] ?? ''}${delimiter}/usr/sbin${delimiter}/sbin`.split(delimiter);
  for (const folder of folders) {
    try {
      accessSync(join(folder, program), constants.X_OK);
      return undefined;
    } catch {} // the next folder may have it
  }
  return `needs the program ${program}: ${howToGet(program)}`;
}

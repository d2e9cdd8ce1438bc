import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { needs } from '../kit/requirements.js';
import { SANDBOX_VARIABLE, whyNoSandbox } from './sandbox.js';

const RUNNER = fileURLToPath(new URL('../run.js', import.meta.url));

/** Simulates a machine where a node was killed before it restored resolv.conf. */
const AFTER_KILL = `
  mount --make-rprivate / && mount -t tmpfs tmpfs /run && cp -a /etc /run/etc && mount --bind /run/etc /etc &&
  echo nameserver 10.7.0.2 >/etc/resolv.conf && touch /etc/resolv.conf.before-lametun-lt0 && exec "$@"`;

/** Runs the runner on fixtures, by default in this process's namespaces. `words` precede its command. */
function runner(
  fixtures: readonly string[],
  variables: Readonly<Record<string, string | undefined>> = {},
  words: readonly string[] = [],
) {
  const files = fixtures.map((name) => fileURLToPath(new URL(`./fixtures/${name}.js`, import.meta.url)));
  const [program, ...rest] = [...words, process.execPath, RUNNER, ...files];
  const { status, stdout, stderr } = spawnSync(program!, rest, {
    encoding: 'utf8',
    // With NODE_TEST_CONTEXT Node considers itself the child of another test run, and runs nothing.
    env: {
      ...process.env,
      NODE_TEST_CONTEXT: undefined,
      LAMETUN_TESTS_MUST_RUN: undefined,
      [SANDBOX_VARIABLE]: 'none',
      ...variables,
    },
  });
  return { status, stdout, stderr };
}

test('a run in which all tests pass counts them and ends with status 0', () => {
  const { status, stdout } = runner(['passes']);
  assert.match(stdout, /^ℹ tests 2$/m);
  assert.match(stdout, /^ℹ pass 2$/m);
  assert.match(stdout, /\n2 tests: 2 passed, 0 failed\n$/);
  assert.equal(status, 0);
});

test('a failed test fails the run', () => {
  const { status, stdout } = runner(['passes', 'fails']);
  assert.match(stdout, /✖ this one fails/);
  assert.match(stdout, /\n4 tests: 3 passed, 1 failed\n$/);
  assert.equal(status, 1);
});

test('tests that cannot run do not fail the run, and its last lines say how many, why, and what to do', () => {
  const { status, stdout } = runner(['passes', 'cannot-run']);
  assert.match(
    stdout,
    /\n5 tests: 3 passed, 0 failed, 2 could not run\n\n2 tests could not run here:\n {3}2 {2}needs the program no-such-program: .+\n$/,
  );
  assert.equal(status, 0);
});

test('with LAMETUN_TESTS_MUST_RUN=1 a test that cannot run fails', () => {
  const { status, stdout } = runner(['passes', 'cannot-run'], { LAMETUN_TESTS_MUST_RUN: '1' });
  assert.match(stdout, /could not run: needs the program no-such-program/);
  assert.match(stdout, /\n5 tests: 3 passed, 2 failed\n$/);
  assert.equal(status, 1);
});

test('with LAMETUN_TESTS_MUST_RUN=1 a skipped test fails the run', () => {
  assert.equal(runner(['skips']).status, 0);
  const { status, stdout } = runner(['skips'], { LAMETUN_TESTS_MUST_RUN: '1' });
  assert.match(stdout, /^FAILED: 1 test did not run, but LAMETUN_TESTS_MUST_RUN=1 requires all tests$/m);
  assert.match(stdout, /skipped flaky\n$/);
  assert.equal(status, 1);
});

test('a file that runs no test fails the run', () => {
  const { status, stdout } = runner(['passes', 'empty']);
  assert.match(stdout, /^FAILED: .*fixtures\/empty\.js ran no test$/m);
  assert.equal(status, 1);
});

test('a file whose process ends early fails the run', () => {
  const { status, stdout } = runner(['passes', 'ends-early']);
  assert.match(stdout, /✖ .*ends-early\.js/);
  assert.equal(status, 1);
});

test('the runner ends a test that hangs, and names it', () => {
  const { status, stdout } = runner(['passes', 'hangs'], { LAMETUN_TEST_LIMIT: '6000' });
  assert.match(stdout, /✖ a test that never ends|ended while running: a test that never ends/);
  assert.equal(status, 1);
});

test('a missing file is a usage error', () => {
  const { status, stderr } = runner(['no-such-file']);
  assert.match(stderr, /^tests: no such test: .*no-such-file\.js \(usage: [^\n]*\n$/);
  assert.equal(status, 2);
});

test('as root the run has its own network, /run and /etc, and leaves no processes behind', (t) => {
  if (!needs(t, 'root', 'netns', 'unshare', 'setpriv')) return;
  assert.equal(whyNoSandbox(), undefined);
  const words = ['unshare', '--mount', 'sh', '-c', AFTER_KILL, 'sh'];
  const { status, stdout } = runner(['sandboxed'], { [SANDBOX_VARIABLE]: undefined }, words);
  assert.equal(status, 0, stdout);
  assert.match(stdout, /\n2 tests: 2 passed, 0 failed\n$/);
  const orphans = readdirSync('/proc').filter(
    (pid) => /^\d+$/.test(pid) && commandOf(pid).includes('86397.25'),
  );
  assert.deepEqual(orphans, []);
});

function commandOf(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8');
  } catch {
    return ''; // the process has ended
  }
}

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { needs } from '../kit/requirements.js';
import { SANDBOX_VARIABLE, whyNoSandbox } from './sandbox.js';

const RUNNER = fileURLToPath(new URL('../run.js', import.meta.url));

/** A machine on which a node was killed before it put resolv.conf back. */
const AFTER_KILL = `
  mount --make-rprivate / && mount -t tmpfs tmpfs /run && cp -a /etc /run/etc && mount --bind /run/etc /etc &&
  echo nameserver 10.7.0.2 >/etc/resolv.conf && touch /etc/resolv.conf.before-lametun-lt0 && exec "$@"`;

/** Runs the runner on fixtures, in this process's namespaces unless told otherwise. `words` start its program. */
function runner(
  fixtures: readonly string[],
  variables: Readonly<Record<string, string | undefined>> = {},
  words: readonly string[] = [],
) {
  const files = fixtures.map((name) => fileURLToPath(new URL(`./fixtures/${name}.js`, import.meta.url)));
  const [program, ...rest] = [...words, process.execPath, RUNNER, ...files];
  const { status, stdout, stderr } = spawnSync(program!, rest, {
    encoding: 'utf8',
    // Under NODE_TEST_CONTEXT node takes itself for the child of another test run, and runs nothing.
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

test('a run whose tests all pass ends with status 0 and counts them', () => {
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

test('tests that could not run do not fail the run, and its last lines say how many, why, and what to do', () => {
  const { status, stdout } = runner(['passes', 'cannot-run']);
  assert.match(
    stdout,
    /\n5 tests: 3 passed, 0 failed, 2 could not run\n\n2 tests could not run here:\n {3}2 {2}needs the program no-such-program: .+\n$/,
  );
  assert.equal(status, 0);
});

test('under LAMETUN_TESTS_MUST_RUN=1 a test that could not run has failed', () => {
  const { status, stdout } = runner(['passes', 'cannot-run'], { LAMETUN_TESTS_MUST_RUN: '1' });
  assert.match(stdout, /could not run: needs the program no-such-program/);
  assert.match(stdout, /\n5 tests: 3 passed, 2 failed\n$/);
  assert.equal(status, 1);
});

test('under LAMETUN_TESTS_MUST_RUN=1 nothing can be skipped by any other way either', () => {
  assert.equal(runner(['skips']).status, 0);
  const { status, stdout } = runner(['skips'], { LAMETUN_TESTS_MUST_RUN: '1' });
  assert.match(stdout, /^FAILED: 1 test could not run, and here every test must$/m);
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

test('a test that hangs is ended and named', () => {
  const { status, stdout } = runner(['passes', 'hangs'], { LAMETUN_TEST_LIMIT: '6000' });
  assert.match(stdout, /✖ a test that never ends|ended while running: a test that never ends/);
  assert.equal(status, 1);
});

test('a file that is not there is a usage error', () => {
  const { status, stderr } = runner(['no-such-file']);
  assert.match(stderr, /^tests: no such test: .*no-such-file\.js \(usage: [^\n]*\n$/);
  assert.equal(status, 2);
});

test('as root the run has a network, a /run and an /etc of its own, and nothing that it started outlives it', (t) => {
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
    return ''; // it has ended meanwhile
  }
}

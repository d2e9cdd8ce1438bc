/**
 * Runs tests with other versions of Node.js: `node dist/tests/nodes/run.js [VERSION...]`, all of `NODES` by default.
 *
 * The unit tests run with each, some tests in network namespaces with the oldest and the newest.
 */
import { spawnSync } from 'node:child_process';
import { delimiter, dirname } from 'node:path';
import { MUST_RUN_VARIABLE } from '../kit/requirements.js';
import { fetchNode } from './fetch.js';
import { IN_NAMESPACES, unitTests } from './files.js';
import { NODES } from './versions.js';

function main(named: readonly string[]): number {
  const versions = named.length > 0 ? named : NODES;
  const unknown = versions.find((version) => !NODES.includes(version));
  if (unknown !== undefined) {
    console.error(`test:nodes: unknown version ${unknown}: it must be one of ${NODES.join(', ')}`);
    return 2;
  }
  const results = versions.map((version) => `Node.js ${version}: ${tested(version)}`);
  process.stdout.write(`\n${results.join('\n')}\n`);
  const isRequired = process.env[MUST_RUN_VARIABLE] === '1';
  const isGood = results.every(
    (result) => result.endsWith(PASSED) || (!isRequired && !result.endsWith(FAILED)),
  );
  return isGood ? 0 : 1;
}

const PASSED = ': passed';
const FAILED = ': FAILED';

/** @returns the result in words */
function tested(version: string): string {
  let node: string;
  try {
    node = fetchNode(version);
  } catch (error) {
    return `not tested, ${(error as Error).message}`;
  }
  const isAtAnEnd = version === NODES[0] || version === NODES.at(-1);
  const files = [...(isAtAnEnd ? IN_NAMESPACES : []), ...unitTests()];
  process.stdout.write(`\nNode.js ${version}\n`);
  const { status } = spawnSync(node, ['dist/tests/run.js', ...files], {
    stdio: 'inherit',
    env: { ...process.env, PATH: `${dirname(node)}${delimiter}${process.env['PATH']}` },
  });
  return `${files.length} files${status === 0 ? PASSED : FAILED}`;
}

process.exitCode = main(process.argv.slice(2));

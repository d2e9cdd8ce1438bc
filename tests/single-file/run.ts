/**
 * Runs tests against the single executable: `npm run test:single-file [-- [--slow] FILE...]`
 *
 * Tests start programs with `process.execPath`. Here that is a script, which starts the executable in the place of
 * `dist/src/cli/main.js` or `lametund.js`, and Node.js for everything else. Without arguments, it runs a selection that
 * starts every program and every worker, and uses every asset.
 */
import { spawnSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { makeSingleFiles } from '../../packaging/single-file/make.js';
import type { Architecture } from '../../packaging/single-file/node.js';

const SELECTION = [
  'tests/cli/output.test.ts',
  'tests/netns/capabilities.test.ts', // it executes itself again
  'tests/netns/demo.slow.test.ts',
  'tests/netns/lametund.slow.test.ts',
  'tests/network/cli-admin.slow.test.ts', // SQLite, in the background
  'tests/network/home-office.slow.test.ts', // the relay's worker
  'tests/network/postgres.slow.test.ts',
];

const [executable] = await makeSingleFiles([process.arch as Architecture]);
const folder = resolve('out/test');
mkdirSync(folder, { recursive: true });
const run = (program: string): string => `shift; exec '${resolve(executable!)}' --program=${program} "$@" ;;`;
const shim = `#!/bin/sh
case $1 in
  */dist/src/cli/main.js) ${run('cli/main')}
  */dist/src/cli/lametund.js) ${run('cli/lametund')}
esac
exec '${process.execPath}' "$@"
`;
writeFileSync(`${folder}/node`, shim, { mode: 0o755 });
writeFileSync(`${folder}/shim.mjs`, `process.execPath = '${folder}/node';\n`);

const named = process.argv.slice(2);
const { status } = spawnSync(
  process.execPath,
  ['dist/tests/run.js', ...(named.length > 0 ? named : ['--slow', ...SELECTION])],
  { stdio: 'inherit', env: { ...process.env, NODE_OPTIONS: `--import=file://${folder}/shim.mjs` } },
);
process.exitCode = status ?? 1;

import { existsSync } from 'node:fs';
import { debianVersion, thisRelease } from '../deb/changelog.js';
import { packageJsonVersion } from '../version.js';
import { makeAptRepository } from './apt.js';

/** `npm run package:apt -- --sign KEY [FOLDER]`: adds this version's Debian packages to the apt repository in a folder. */
const USAGE = 'usage: npm run package:apt -- --sign KEY [FOLDER]';

const [option, key, folder = 'out/apt', more] = process.argv.slice(2);
if (option !== '--sign' || key === undefined || more !== undefined) fail(USAGE, 2);
const version = packageJsonVersion();
const debs = ['amd64', 'arm64'].map((name) => `out/lametun_${debianVersion(version)}_${name}.deb`);
for (const deb of debs) if (!existsSync(deb)) fail(`${deb} is missing: run npm run package`, 1);
try {
  makeAptRepository(folder, { debs, key, date: thisRelease(version).date });
  console.log(folder);
} catch (error) {
  fail(`cannot make the apt repository ${folder}: ${(error as Error).message.trim()}`, 1);
}

function fail(problem: string, status: number): never {
  process.stderr.write(`package:apt: ${problem}\n`);
  process.exit(status);
}

import { makeDebs } from './deb/make.js';
import { makeSingleFiles } from './single-file/make.js';
import type { Architecture } from './single-file/node.js';

/** `npm run package [ARCHITECTURE ...]`: makes the packages for these, or for all of them, in `out/`. */
const ARCHITECTURES: readonly Architecture[] = ['x64', 'arm64'];

const named = process.argv.slice(2);
const unknown = named.find((name) => !(ARCHITECTURES as readonly string[]).includes(name));
if (unknown !== undefined) {
  process.stderr.write(`no such architecture: ${unknown} (${ARCHITECTURES.join(', ')})\n`);
  process.exit(2);
}
const chosen = named.length > 0 ? (named as Architecture[]) : ARCHITECTURES;
for (const path of await makeSingleFiles(chosen)) console.log(path);
for (const path of makeDebs(chosen)) console.log(path);

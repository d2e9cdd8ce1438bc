import { existsSync } from 'node:fs';
import type { Architecture } from '../single-file/node.js';
import { packageJsonVersion } from '../version.js';
import { makeImage } from './make.js';

/** `npm run package:image`: makes the container image from the executables of `npm run package`. */
const ARCHITECTURES: readonly Architecture[] = ['x64', 'arm64'];
try {
  process.umask(0o022);
  for (const name of ARCHITECTURES.map((architecture) => `out/lametun-linux-${architecture}`))
    if (!existsSync(name)) throw new Error(`${name} is missing: run npm run package`);
  const version = packageJsonVersion();
  console.log(makeImage(ARCHITECTURES, version));
} catch (error) {
  process.stderr.write(`package:image: ${(error as Error).message.trim()}\n`);
  process.exitCode = 1;
}

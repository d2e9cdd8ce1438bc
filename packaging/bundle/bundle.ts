import { type OutputChunk, type Plugin, rolldown } from 'rolldown';
import { LOADER, PROGRAMS } from '../../src/self.js';

/** SQLite's code. */
export const SQLITE_WASM = 'node-sqlite3-wasm.wasm';

/**
 * Bundles what `npm run build` has compiled, with the packages that it needs.
 *
 * @returns scripts in CommonJS by their names: the loader, one for each program, and those that these share
 */
export async function bundle(): Promise<ReadonlyMap<string, string>> {
  const inputs = PROGRAMS.map((program) => [program.replaceAll('/', '-'), `dist/src/${program}.js`]);
  const chunks = await Promise.all([
    build({ [LOADER.replace('.js', '')]: 'dist/packaging/single-file/loader.js' }),
    build(Object.fromEntries(inputs)),
  ]);
  return new Map(chunks.flat().map(({ fileName, code }) => [fileName, code]));
}

async function build(input: Record<string, string>): Promise<OutputChunk[]> {
  const bundle = await rolldown({
    ...{ input, platform: 'node', external: [/^node:/], plugins: [sqliteFromAsset] },
    checks: { ineffectiveDynamicImport: false }, // some commands load lazily what others need at once
  });
  const { output } = await bundle.generate({ format: 'cjs', comments: false });
  await bundle.close();
  return output.map((part) => {
    if (part.type !== 'chunk')
      throw new Error(`the bundle has the file ${part.fileName}, which nothing reads`);
    return part;
  });
}

/** SQLite looks for its code beside its script, unless it is given. */
const sqliteFromAsset: Plugin = {
  name: 'sqlite-from-asset',
  transform(code, id) {
    if (!id.endsWith('/node-sqlite3-wasm.js')) return undefined;
    const wanted = 'if(Module["wasmBinary"])wasmBinary=Module["wasmBinary"];';
    if (!code.includes(wanted)) throw new Error(`node-sqlite3-wasm has changed: it lacks ${wanted}`);
    return code.replace(wanted, `wasmBinary=require('node:sea').getRawAsset('${SQLITE_WASM}');`);
  },
};

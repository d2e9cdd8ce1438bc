// Prepares dist/ for one test file without checking types: node scripts/transpile.mjs FILE
//
// Removes the types from each source that is newer than its compiled file, and from each source without one that the
// test or the runner names in a string, such as an import. The compiler's record of dist/ is wrong then, and removed:
// the next build is a whole one.
import { mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import ts from 'typescript';

const { config } = ts.readConfigFile('tsconfig.json', ts.sys.readFile);
const { options } = ts.convertCompilerOptionsFromJson(config.compilerOptions, '.');
// A single file cannot tell by its extension that it is a module.
const compilerOptions = { ...options, module: ts.ModuleKind.ESNext, sourceMap: false, declaration: false };

const timeOf = (file) => statSync(file, { throwIfNoEntry: false })?.mtimeMs ?? 0;
const compiledName = (source) => join('dist', source.replace(/\.ts$/, '.js'));

function transpile(source) {
  const compiled = compiledName(source);
  if (timeOf(source) < timeOf(compiled)) return;
  const text = readFileSync(source, 'utf8');
  rmSync('dist/.tsbuildinfo', { force: true });
  mkdirSync(dirname(compiled), { recursive: true });
  writeFileSync(compiled, ts.transpileModule(text, { compilerOptions, fileName: source }).outputText);
}

for (const top of config.include)
  for (const name of readdirSync(top, { recursive: true }))
    if (name.endsWith('.ts') && timeOf(compiledName(join(top, name))) > 0) transpile(join(top, name));

const toReach = new Set(['tests/run.ts', ...process.argv.slice(2).map((file) => relative('.', file))]);
for (const source of toReach) {
  if (timeOf(source) === 0) continue;
  transpile(source);
  for (const [, named] of readFileSync(source, 'utf8').matchAll(/['"`]([\w./-]+)\.js['"`]/g))
    toReach.add(`${named.startsWith('dist/') ? named.slice(5) : join(dirname(source), named)}.ts`);
}
await import('./copy-assets.mjs');

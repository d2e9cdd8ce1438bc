import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** `export const name`, and so on. */
const EXPORT = /^export (?:declare |abstract |async )*(const|function\*?|class|interface|type) (\w+)/gm;
/** `import { names } from 'path'`, `export { names } from 'path'`. */
const IMPORT = /\{([^{}]*)\}\s*from\s*'(\.[^']+)'/g;
/** `import('path')`: every name in the importing file counts as imported. */
const LAZY_IMPORT = /import\('(\.[^']+)'\)/g;
const COMMENT = /\/\*.*?\*\/|\/\/[^\n]*/gs;

/**
 * Unused exports of the files of `src/` and `packaging/`: no other file of these imports them. Types that their own file uses do not
 * count, and neither does what both its own file and a test use.
 *
 * @returns `src/ip/address.ts: name`
 */
export function unusedExports(): readonly string[] {
  const exported: { readonly key: string; readonly kind: string; readonly usedInOwnFile: boolean }[] = [];
  const imports = { product: new Set<string>(), tests: new Set<string>() };
  for (const path of ['src', 'packaging', 'tests'].flatMap(filesOf)) {
    const isTest = path.startsWith('tests/') || path.endsWith('.test.ts');
    const text = readFileSync(path, 'utf8').replace(COMMENT, '');
    const note = (names: string, target: string): void => {
      const file = join(path, '..', target).replace(/\.js$/, '.ts');
      for (const name of names.match(/\w+/g) ?? []) {
        imports[isTest ? 'tests' : 'product'].add(`${file}: ${name}`);
      }
    };
    for (const [, names, target] of text.matchAll(IMPORT)) note(names!, target!);
    for (const [, target] of text.matchAll(LAZY_IMPORT)) note(text, target!);
    if (isTest) continue;
    for (const [, kind, name] of text.matchAll(EXPORT)) {
      const usedInOwnFile = text.match(new RegExp(`\\b${name}\\b`, 'g'))!.length > 1;
      exported.push({ key: `${path}: ${name}`, kind: kind!, usedInOwnFile });
    }
  }
  return exported
    .filter(({ key, kind, usedInOwnFile }) => {
      const isType = kind === 'interface' || kind === 'type';
      return !imports.product.has(key) && !(usedInOwnFile && (isType || imports.tests.has(key)));
    })
    .map(({ key }) => key);
}

const filesOf = (folder: string): string[] =>
  readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts'))
    .sort()
    .map((name) => join(folder, name));

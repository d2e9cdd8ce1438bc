import { readFileSync } from 'node:fs';

/** The version in package.json, `1.0.0`. */
export const packageJsonVersion = (): string =>
  (JSON.parse(readFileSync('package.json', 'utf8')) as { readonly version: string }).version;

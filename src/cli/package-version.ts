import { readFileSync } from 'node:fs';

/** The version in package.json, which is above dist/ in a checkout and in an installed package. */
export function packageVersion(): string {
  const file = new URL('../../../package.json', import.meta.url);
  return `lametun ${(JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version}`;
}

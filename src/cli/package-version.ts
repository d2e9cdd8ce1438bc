import { asset } from '../self.js';

/** The version in package.json, which is above dist/ in a checkout and in an installed package. */
export function packageVersion(): string {
  const text = Buffer.from(asset('../../package.json')).toString();
  return `lametun ${(JSON.parse(text) as { version: string }).version}`;
}

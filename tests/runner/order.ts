import { resolve } from 'node:path';

/**
 * The files that take longest, the longest first, as the summary of a run lists them. They start first. Otherwise the
 * last one would keep one processor busy while the others are idle.
 */
export const LONGEST: readonly string[] = [
  'tests/interop/wireguard.slow',
  'tests/interop/offload.slow',
  'tests/network/cli-start.slow',
  'tests/network/cli-admin.slow',
  'tests/network/identity.slow',
  'tests/network/odd-machines.slow',
  'tests/netns/demo.slow',
  'tests/netns/plain.slow',
  'tests/netns/lametund.slow',
  'tests/interop/compatibility.slow',
  'tests/hub/kill.slow',
  'tests/network/paths.slow',
  'tests/security/hub.slow',
  'tests/virtual/thousand',
  'tests/virtual/large',
  'src/hub/store/store',
  'src/hub/start',
  'tests/attack/messages.slow',
];

/** @param dist the folder of the compiled files */
export function longestFirst(files: readonly string[], dist: string): string[] {
  const places = new Map(LONGEST.map((file, place) => [resolve(dist, `${file}.test.js`), place]));
  const place = (file: string): number => places.get(file) ?? LONGEST.length;
  return [...files].sort().sort((one, other) => place(one) - place(other));
}

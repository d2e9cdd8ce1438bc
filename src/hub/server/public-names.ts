import { lookup } from 'node:dns/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseAddress } from '../../ip/address.js';
import type { HubAddress } from '../../protocol/token.js';

/** How long to wait for a name server, milliseconds. The system's own resolver may try for half a minute. */
const PATIENCE = 2_000;

/** Rejects with the `code` of getaddrinfo(3) as Node.js spells it. */
export type Lookup = (name: string) => Promise<unknown>;

/**
 * Resolves the names among the addresses in tokens.
 *
 * The hub itself does not need them, so it starts without DNS. Nodes do, and the owner should learn of a typo.
 *
 * @returns a warning for each name that does not resolve now
 */
export async function unresolvedNames(
  addresses: readonly HubAddress[],
  find: Lookup = lookup,
  patience = PATIENCE,
): Promise<string[]> {
  const names = [...new Set(addresses.map(({ host }) => host))].filter(
    (host) => parseAddress(host) === undefined,
  );
  const problems = await Promise.all(names.map((name) => problemOf(name, find, patience)));
  return names.flatMap((name, i) => {
    const problem = problems[i];
    if (problem === undefined) return [];
    return `cannot resolve --public ${name}: ${problem}. Nodes that cannot resolve it need another address of this hub`;
  });
}

async function problemOf(name: string, find: Lookup, patience: number): Promise<string | undefined> {
  const ended = new AbortController();
  const isFound = async (): Promise<undefined> => void (await find(name));
  const tooLong = sleep(patience, NO_ANSWER, { signal: ended.signal });
  try {
    return await Promise.race([isFound(), tooLong]);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? '';
    return code === 'ENOTFOUND' ? NO_NAME : code === 'EAI_AGAIN' ? NO_ANSWER : code;
  } finally {
    tooLong.catch(() => {});
    ended.abort();
  }
}

const NO_ANSWER = 'no name server answers; check the DNS settings of this machine';
const NO_NAME = 'there is no such name; check the spelling';

import { lookup } from 'node:dns/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { LametunError } from '../../errors.js';
import { parsePublic } from '../../hub/server/public-addresses.js';
import { parseAddress } from '../../ip/address.js';

/** How long to wait for a name server, milliseconds. */
const PATIENCE = 3_000;

/**
 * Resolves the names that `--public` gives for the first time. A name that the hub already had is not resolved, so that the
 * hub also starts without DNS.
 *
 * @param find rejects with the `code` of getaddrinfo(3) as Node spells it
 * @throws LametunError `unknown-host` when one does not resolve; nothing was changed
 */
export async function checkNewNames(
  given: readonly string[],
  before: readonly string[],
  find: (name: string) => Promise<unknown> = lookup,
  patience = PATIENCE,
): Promise<void> {
  for (const text of given.filter((each) => !before.includes(each))) {
    const { host } = parsePublic(text, 1);
    if (parseAddress(host) !== undefined) continue;
    const problem = await problemOf(find(host), patience);
    if (problem !== undefined)
      throw new LametunError('unknown-host', `--public ${text}: cannot resolve ${host}: ${problem}`);
  }
}

async function problemOf(finding: Promise<unknown>, patience: number): Promise<string | undefined> {
  const ended = new AbortController();
  const tooLong = sleep(patience, NO_ANSWER, { signal: ended.signal }).catch(() => undefined);
  try {
    return await Promise.race([finding.then(() => undefined), tooLong]);
  } catch (error) {
    const { code = 'unknown error' } = error as NodeJS.ErrnoException;
    return code === 'ENOTFOUND' ? NO_NAME : code === 'EAI_AGAIN' ? NO_ANSWER : code;
  } finally {
    ended.abort();
  }
}

const NO_NAME = 'no such name: check the spelling, or give an address';
const NO_ANSWER = 'no name server answered: check the DNS settings of this machine, or give an address';

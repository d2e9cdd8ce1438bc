import { lookup } from 'node:dns/promises';
import { LametunError } from '../errors.js';
import { parseAddress } from '../ip/address.js';
import { libc } from '../linux/libc.js';
import type { Endpoint } from '../linux/socket-address.js';

/**
 * Finds all addresses of a host, in the order of the system's resolver (RFC 6724).
 *
 * @param host a name, an IPv4 or an IPv6 address, the latter with or without brackets
 * @throws LametunError `unknown-host`
 */
export async function resolveHost(host: string, port: number): Promise<Endpoint[]> {
  const name = /^\[(.*)\]$/.exec(host)?.[1] ?? host;
  let found: { address: string }[];
  try {
    found = await lookup(name, { all: true, verbatim: true });
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const hint = /^[^:]+:\d+$/.test(name) ? ' (the port is given with -port)' : '';
    throw new LametunError('unknown-host', `cannot resolve "${host}"${hint}: ${WHY[code ?? ''] ?? code}`);
  }
  const endpoints = found.flatMap(({ address }) => toEndpoint(address, port) ?? []);
  if (endpoints.length > 0) return endpoints;
  throw new LametunError('unknown-host', `"${host}" resolves to no address that can be used`);
}

const WHY: Readonly<Record<string, string>> = {
  ENOTFOUND: 'no such host: is the name right?',
  ENODATA: 'the name has no address: is it right?',
  EAI_AGAIN: "the name server does not answer: is this machine's network up?",
};

/** @param text an address, with a zone (`fe80::1%eth0`) where it is link-local */
function toEndpoint(text: string, port: number): Endpoint | undefined {
  const [plain, zone] = text.split('%');
  const address = parseAddress(plain!);
  if (address === undefined) return undefined;
  return { address, port, scope: zone === undefined ? 0 : Number(zone) || libc.if_nametoindex(zone) };
}

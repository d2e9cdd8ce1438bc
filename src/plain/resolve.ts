import { lookup } from 'node:dns/promises';
import { LametunError } from '../errors.js';
import { parseAddress } from '../ip/address.js';
import type { Endpoint } from '../ip/endpoint.js';
import { libc } from '../linux/ffi/libc.js';

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
  const endpoints = found.map(({ address }) => toEndpoint(address, port));
  const usable = endpoints.filter((endpoint) => whyUseless(endpoint) === undefined);
  if (usable.length > 0) return usable;
  const why = endpoints[0] === undefined ? 'it has no address' : whyUseless(endpoints[0]);
  throw new LametunError('unknown-host', `"${host}" cannot be a server's address: ${why}`);
}

const WHY: Readonly<Record<string, string>> = {
  ENOTFOUND: 'no such host: is the name right?',
  ENODATA: 'the name has no address: is it right?',
  EAI_AGAIN: "the name server does not answer: is this machine's network up?",
};

/** @param text an address; a link-local one has a zone (`fe80::1%eth0`) */
function toEndpoint(text: string, port: number): Endpoint {
  const [plain, zone] = text.split('%');
  const address = parseAddress(plain!);
  if (address === undefined) throw new TypeError(`the resolver gave "${text}"`);
  return { address, port, scope: zone === undefined ? 0 : Number(zone) || libc.if_nametoindex(zone) };
}

/** Why an address cannot be a server's; undefined if it can. RFC 6890, RFC 4291 §2.4. */
function whyUseless({ address, scope }: Endpoint): string | undefined {
  const [first, second] = address as Uint8Array & [number, number];
  const multicast = address.length === 4 ? first >= 224 : first === 0xff;
  if (multicast || address.every((byte) => byte === 0)) return 'it is not the address of one host';
  const linkLocal = address.length === 16 && first === 0xfe && (second & 0xc0) === 0x80;
  if (linkLocal && !scope) return 'it needs a device, as in fe80::1%eth0 (`ip link` lists them)';
  return undefined;
}

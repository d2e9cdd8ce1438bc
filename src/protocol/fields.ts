import * as v from 'valibot';
import { isCanonical } from '../ip/canonical.js';
import { formatCidr, networkOf, parseCidr } from '../ip/cidr.js';
import { isLabel } from './label.js';
import type { NodeId, RequestId } from './node-id.js';
import { UNSHOWN } from './text.js';
import { isHost } from './token.js';

/**
 * The fields of messages. Each has a maximum length, and text for people has no control characters, which a terminal would
 * obey.
 */

/** The longest lists. A network has no more members than its range has addresses. */
export const LIMIT = { shares: 64, nodes: 65_536, invites: 65_536, addresses: 32, protocols: 16 } as const;

const text = (pattern: RegExp, what: string) => v.pipe(v.string(what), v.regex(pattern, what));

/** 32 bytes in base64: 43 digits, the last of which has only four bits of the key. */
export const KEY = /^[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=$/;
export const key = text(KEY, 'must be 32 bytes in base64');
export const secret = text(/^[A-Za-z0-9+/]{21}[AQgw]==$/, 'must be 16 bytes in base64');
export const session = text(/^[A-Za-z0-9+/]{10}[AEIMQUYcgkosw048]=$/, 'must be 8 bytes in base64');
/** Opaque: returned unchanged. */
export const handle = text(/^[\w.-]{1,64}$/, 'must be 1 to 64 letters, digits or "_.-"');
/** Text for people, without control characters and characters that change the direction of text. */
export const prose = (max: number) =>
  text(new RegExp(`^[^${UNSHOWN}]{0,${max}}$`), `must be at most ${max} printable characters`);
export const program = prose(64);

export const whole = (min: number, max: number) => {
  const what = `must be a whole number from ${min} to ${max}`;
  return v.pipe(v.number(what), v.integer(what), v.minValue(min, what), v.maxValue(max, what));
};
/** A member's id. */
export const nodeId: v.GenericSchema<NodeId> = whole(1, 2 ** 32 - 1);
/** A request's number. */
export const requestId: v.GenericSchema<RequestId> = whole(0, Number.MAX_SAFE_INTEGER);
export const revision = whole(0, Number.MAX_SAFE_INTEGER);
export const port = whole(1, 65_535);
export const time = whole(0, Number.MAX_SAFE_INTEGER);
/** How long an invitation is valid, seconds: at most ten years. */
export const lifetime = whole(1, 10 * 366 * 86_400);
/** Bytes. IPv6 requires 1280; a TUN device has 16 bits. */
export const mtu = whole(1280, 65_535);
export const flag = v.boolean('must be true or false');

export function isNetwork(value: string, length?: 4 | 16): boolean {
  const cidr = value.length > 49 ? undefined : parseCidr(value);
  if (cidr === undefined || (length !== undefined && cidr.address.length !== length)) return false;
  return formatCidr(networkOf(cidr)) === value;
}

const checked = (is: (value: string) => boolean, what: string) => v.pipe(v.string(what), v.check(is, what));
export const ipv4 = checked((value) => isCanonical(value, 4), 'must be an IPv4 address');
export const ipv6 = checked(
  (value) => isCanonical(value, 16),
  'must be an IPv6 address in its shortest form',
);
export const ipv4Network = checked((value) => isNetwork(value, 4), 'must be an IPv4 network');
export const ipv6Network = checked((value) => isNetwork(value, 16), 'must be an IPv6 network');
export const network = checked(
  (value) => isNetwork(value),
  'must be a network such as 192.168.1.0/24, without host bits',
);

export const list = <T extends v.GenericSchema>(item: T, max: number) =>
  v.pipe(v.array(item, 'must be a list'), v.maxLength(max, `must have at most ${max} entries`));
export const shares = list(network, LIMIT.shares);

export const label = checked(isLabel, 'must be a DNS label');

/** An address of a hub. */
const hubAddress = v.strictObject({
  host: checked(isHost, 'must be an address or a host name'),
  port,
  tls: flag,
});
export const hubAddresses = list(hubAddress, LIMIT.addresses);

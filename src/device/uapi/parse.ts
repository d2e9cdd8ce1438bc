import { type IpAddress, isIpv4Mapped, parseAddress } from '../../ip/address.js';
import { type Cidr, parseCidr } from '../../ip/cidr.js';
import { secretBytes } from '../../wireguard/crypto.js';
import { UAPI_ERRNO, UapiError } from './error.js';

/** An endpoint in a request. */
export interface EndpointText {
  readonly address: IpAddress;
  readonly port: number;
  /** Name or number of an interface, behind `%`, if the address is link-local. */
  readonly zone?: string;
}

/**
 * One line of a `set=1` request, https://www.wireguard.com/xplatform/#configuration-protocol.
 * The receiver owns the bytes of keys, and erases secret ones.
 */
export type SetLine =
  | { readonly key: 'private_key' | 'public_key' | 'preshared_key'; readonly value: Uint8Array }
  | { readonly key: 'listen_port' | 'fwmark' | 'persistent_keepalive_interval'; readonly value: number }
  | { readonly key: Flag }
  | { readonly key: 'endpoint'; readonly value: EndpointText }
  /** `remove` if the value begins with `-`. */
  | { readonly key: 'allowed_ip'; readonly value: Cidr; readonly remove: boolean };

/** Keys with only one valid value. */
type Flag = 'replace_peers' | 'replace_allowed_ips' | 'update_only' | 'remove' | 'protocol_version';
type Key = SetLine['key'];
type Parser = (line: Buffer, at: number) => SetLine | undefined;

/** Reads values, from `at` on; undefined for an invalid value. */
const PARSERS: Readonly<Record<Key, Parser>> = {
  private_key: key32('private_key'),
  listen_port: unsigned('listen_port', 0xffff),
  fwmark: unsigned('fwmark', 0xffff_ffff),
  replace_peers: literal('replace_peers', 'true'),
  public_key: key32('public_key'),
  remove: literal('remove', 'true'),
  update_only: literal('update_only', 'true'),
  preshared_key: key32('preshared_key'),
  endpoint: (line, at) => {
    const value = parseEndpoint(line.toString('latin1', at));
    return value && { key: 'endpoint', value };
  },
  persistent_keepalive_interval: unsigned('persistent_keepalive_interval', 0xffff),
  replace_allowed_ips: literal('replace_allowed_ips', 'true'),
  allowed_ip: (line, at) => {
    const remove = line[at] === MINUS;
    const start = remove ? at + 1 : at;
    const value = parseIpv4Cidr(line, start) ?? parseCidr(line.toString('latin1', start));
    return value && { key: 'allowed_ip', value, remove };
  },
  protocol_version: literal('protocol_version', '1'),
};

/** The keys that are allowed before a request's first `public_key`, and from then on. */
const SECTIONS = {
  device: new Set<string>([
    'private_key',
    'listen_port',
    'fwmark',
    'replace_peers',
    'public_key',
  ] satisfies Key[]),
  peer: new Set<string>([
    'public_key',
    'remove',
    'update_only',
    'preshared_key',
    'endpoint',
    'persistent_keepalive_interval',
    'replace_allowed_ips',
    'allowed_ip',
    'protocol_version',
  ] satisfies Key[]),
} as const;

export type Section = keyof typeof SECTIONS;

/**
 * Reads one line. Secret values never become strings.
 *
 * @throws UapiError: EPROTO if it is not `key=value`, EINVAL if the key is unknown in that section or the value is
 *   invalid
 */
export function parseSetLine(line: Buffer, section: Section): SetLine {
  const end = line.at(-1) === CARRIAGE_RETURN ? line.length - 1 : line.length;
  const text = end === line.length ? line : line.subarray(0, end);
  let equals = 0;
  while (equals < text.length && text[equals] !== EQUALS) equals++;
  if (equals === text.length) throw new UapiError(UAPI_ERRNO.protocol, 'a line without "="');
  const key = equals > MAX_KEY ? '' : text.toString('latin1', 0, equals); // no string of a possible secret
  if (!SECTIONS[section].has(key)) {
    throw new UapiError(UAPI_ERRNO.invalid, `invalid UAPI ${section} key: ${presentable(key)}`);
  }
  const parsed = PARSERS[key as Key](text, equals + 1);
  if (parsed === undefined) throw new UapiError(UAPI_ERRNO.invalid, `invalid value of ${key}`);
  return parsed;
}

const MINUS = 0x2d;
const EQUALS = 0x3d;
const CARRIAGE_RETURN = 0x0d;
/** No key is longer. */
const MAX_KEY = 30;

/** The text before a `=` may be anything. A key in base64, which ends in `=`, must not appear in the log. */
const presentable = (key: string): string => (/^[a-z_]{1,30}$/.test(key) ? key : 'not a word');

function literal(key: Flag, expected: string): Parser {
  return (line, at) => (line.toString('latin1', at) === expected ? { key } : undefined);
}

/** A decimal number, leading zeros allowed, and nothing else. */
function unsigned(key: 'listen_port' | 'fwmark' | 'persistent_keepalive_interval', max: number): Parser {
  return (line, at) => {
    const value = parseUnsigned(line.toString('latin1', at), max);
    return value === undefined ? undefined : { key, value };
  };
}

function parseUnsigned(text: string, max: number): number | undefined {
  if (!/^\d+$/.test(text)) return undefined;
  const value = Number(text);
  return value <= max ? value : undefined;
}

/** 32 bytes in hexadecimal of either case, read without making a string. */
function key32(key: 'private_key' | 'public_key' | 'preshared_key'): Parser {
  return (line, at) => {
    if (line.length - at !== 64) return undefined;
    const value = secretBytes();
    for (let i = 0; i < 32; i++) {
      const byte = (hexDigit(line[at + 2 * i]!) << 4) | hexDigit(line[at + 2 * i + 1]!);
      if (byte < 0) {
        value.fill(0);
        return undefined;
      }
      value[i] = byte;
    }
    return { key, value };
  };
}

/** @returns -1 if it is not a digit; `|` with it stays negative */
function hexDigit(code: number): number {
  if (code >= 0x30 && code <= 0x39) return code - 0x30;
  const lower = code | 0x20;
  return lower >= 0x61 && lower <= 0x66 ? lower - 0x57 : -1;
}

/** `192.0.2.1:51820`, `[2001:db8::1]:51820`, `[fe80::1%eth0]:51820`. */
function parseEndpoint(text: string): EndpointText | undefined {
  const match = /^(?:\[([^\]%]*:[^\]%]*)(?:%([^\]]+))?\]|([\d.]+)):(\d+)$/.exec(text);
  if (match === null) return undefined;
  const [, ipv6, zone, ipv4, digits] = match;
  const parsed = parseAddress(ipv6 ?? ipv4!);
  const port = parseUnsigned(digits!, 0xffff);
  if (parsed === undefined || port === undefined) return undefined;
  // `::ffff:192.0.2.1` is 192.0.2.1, as the socket will report it.
  const address = isIpv4Mapped(parsed) ? parsed.slice(12) : parsed;
  return zone === undefined ? { address, port } : { address, port, zone };
}

/**
 * `10.0.0.0/8` from bytes, for requests with tens of thousands of them. Accepts only the plain form; `parseCidr`
 * handles the rest.
 */
function parseIpv4Cidr(line: Buffer, start: number): Cidr | undefined {
  const address = new Uint8Array(4);
  let at = start;
  for (let part = 0; part < 5; part++) {
    const first = at;
    let value = 0;
    for (; at < line.length && at - first < 3; at++) {
      const digit = line[at]! - 0x30;
      if (digit < 0 || digit > 9) break;
      value = value * 10 + digit;
    }
    if (at === first || (at - first > 1 && line[first] === 0x30)) return undefined;
    if (part === 4) return at === line.length && value <= 32 ? { address, prefix: value } : undefined;
    if (value > 255 || line[at] !== (part === 3 ? SLASH : DOT)) return undefined;
    address[part] = value;
    at++;
  }
  return undefined;
}

const DOT = 0x2e;
const SLASH = 0x2f;

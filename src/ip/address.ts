/** An IPv4 address as 4 bytes or an IPv6 address as 16, in network order. */
export type IpAddress = Uint8Array;

/**
 * Parses an address. Strict: four decimal numbers without leading zeros (`010.0.0.1` is
 * octal to some programs and decimal to others), or RFC 4291 §2.2 text without a zone.
 *
 * @returns 4 or 16 bytes, or undefined if the text is not an address
 */
export function parseAddress(text: string): IpAddress | undefined {
  return text.includes(':') ? parseIpv6(text) : parseIpv4(text);
}

function parseIpv4(text: string): IpAddress | undefined {
  const parts = text.split('.');
  if (parts.length !== 4) return undefined;
  const bytes = new Uint8Array(4);
  for (let i = 0; i < 4; i++) {
    if (!/^(0|[1-9]\d{0,2})$/.test(parts[i]!) || Number(parts[i]) > 255) return undefined;
    bytes[i] = Number(parts[i]);
  }
  return bytes;
}

function parseIpv6(text: string): IpAddress | undefined {
  const halves = text.split('::');
  if (halves.length > 2) return undefined;
  const head = groups(halves[0]!, halves.length === 1);
  const tail = halves.length === 2 ? groups(halves[1]!, true) : [];
  if (head === undefined || tail === undefined) return undefined;
  const missing = 8 - head.length - tail.length;
  if (halves.length === 2 ? missing < 1 : missing !== 0) return undefined;
  const bytes = new Uint8Array(16);
  const view = new DataView(bytes.buffer);
  for (const [i, group] of head.entries()) view.setUint16(2 * i, group);
  for (const [i, group] of tail.entries()) view.setUint16(2 * (8 - tail.length + i), group);
  return bytes;
}

/** The 16-bit groups on one side of `::`. Only the last group of an address may be a dotted quad. */
function groups(text: string, last: boolean): number[] | undefined {
  if (text === '') return [];
  const parts = text.split(':');
  const result: number[] = [];
  for (const [i, part] of parts.entries()) {
    if (part.includes('.') && last && i === parts.length - 1) {
      const quad = parseIpv4(part);
      if (quad === undefined) return undefined;
      result.push(quad[0]! * 256 + quad[1]!, quad[2]! * 256 + quad[3]!);
    } else if (/^[0-9a-f]{1,4}$/i.test(part)) {
      result.push(Number.parseInt(part, 16));
    } else {
      return undefined;
    }
  }
  return result;
}

/**
 * Formats an address: a dotted quad, or RFC 5952 text (lower case, the longest run of zeros shortened).
 * An IPv4-mapped IPv6 address is formatted as the IPv4 address that it stands for.
 */
export function formatAddress(address: IpAddress): string {
  if (address.length === 4) return dottedQuad(address, 0);
  if (isIpv4Mapped(address)) return dottedQuad(address, 12);
  const view = new DataView(address.buffer, address.byteOffset, 16);
  const values = Array.from({ length: 8 }, (_, i) => view.getUint16(2 * i));
  const { start, length } = longestZeroRun(values);
  const hex = (part: readonly number[]) => part.map((value) => value.toString(16)).join(':');
  if (length < 2) return hex(values);
  return `${hex(values.slice(0, start))}::${hex(values.slice(start + length))}`;
}

/** Several times as fast as `join`. */
const dottedQuad = (bytes: Uint8Array, at: number): string =>
  `${bytes[at]}.${bytes[at + 1]}.${bytes[at + 2]}.${bytes[at + 3]}`;

function longestZeroRun(values: readonly number[]): { start: number; length: number } {
  let best = { start: 0, length: 0 };
  for (let start = 0; start < values.length; start++) {
    let end = start;
    while (values[end] === 0) end++;
    if (end - start > best.length) best = { start, length: end - start };
    start = Math.max(start, end);
  }
  return best;
}

/** Whether 16 bytes are `::ffff:a.b.c.d`, RFC 4291 §2.5.5.2: the form in which an IPv6 socket names IPv4 addresses. */
export function isIpv4Mapped(address: IpAddress): boolean {
  if (address.length !== 16 || address[10] !== 0xff || address[11] !== 0xff) return false;
  for (let i = 0; i < 10; i++) if (address[i] !== 0) return false;
  return true;
}

/** The 16 bytes that an IPv6 socket uses for an address: an IPv4 address becomes IPv4-mapped. */
export function toIpv6(address: IpAddress): Uint8Array {
  if (address.length === 16) return address;
  const mapped = new Uint8Array(16);
  mapped.set([0xff, 0xff], 10);
  mapped.set(address, 12);
  return mapped;
}

export function addressesEqual(a: IpAddress, b: IpAddress): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

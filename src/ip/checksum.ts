import { IPV4, IPV6 } from './packet.js';

/**
 * The ones' complement sum of a range of one arena, read as big-endian 16-bit words (an odd last byte is the high
 * half of a word) and folded to 16 bits, RFC 1071. A checksum field takes its complement; a range that holds its
 * own correct checksum sums to 0xffff.
 *
 * The range must lie within the arena and be at most 128 KiB long.
 */
export type Sum = (offset: number, length: number) => number;

/** The obvious implementation, which tests compare the fast ones with. */
export function sumReference(bytes: Uint8Array, offset: number, length: number): number {
  let sum = 0;
  for (let i = 0; i < length; i++) sum += i % 2 === 0 ? bytes[offset + i]! * 256 : bytes[offset + i]!;
  while (sum > 0xffff) sum = (sum % 0x10000) + Math.floor(sum / 0x10000);
  return sum;
}

/**
 * Sums by aligned 32-bit words. Byte order does not matter to a ones' complement sum until its end (RFC 1071 §2 B),
 * so that halves are added as this little-endian machine reads them, by whether a byte's address is even; a range
 * from an even address then needs its two bytes swapped, and one from an odd address comes out right.
 */
export function wordSum(bytes: Uint8Array): Sum {
  if (bytes.byteOffset % 4 !== 0) return (offset, length) => sumReference(bytes, offset, length);
  const words = new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length >>> 2);
  return (offset, length) => {
    const end = offset + length;
    let at = offset;
    let even = 0;
    let odd = 0;
    for (; at < end && (at & 3) !== 0; at++) {
      if ((at & 1) === 0) even += bytes[at]!;
      else odd += bytes[at]! << 8;
    }
    const last = end >>> 2;
    let i = at >>> 2;
    for (; i + 4 <= last; i += 4) {
      const a = words[i]!;
      const b = words[i + 1]!;
      const c = words[i + 2]!;
      const d = words[i + 3]!;
      even = (even + (a & 0xffff) + (b & 0xffff) + (c & 0xffff) + (d & 0xffff)) | 0;
      odd = (odd + (a >>> 16) + (b >>> 16) + (c >>> 16) + (d >>> 16)) | 0;
    }
    for (; i < last; i++) {
      const word = words[i]!;
      even = (even + (word & 0xffff)) | 0;
      odd = (odd + (word >>> 16)) | 0;
    }
    for (at = Math.max(at, i << 2); at < end; at++) {
      if ((at & 1) === 0) even += bytes[at]!;
      else odd += bytes[at]! << 8;
    }
    const sum = fold(fold(even) + fold(odd));
    return (offset & 1) === 0 ? ((sum & 0xff) << 8) | (sum >>> 8) : sum;
  };
}

/** Adds the carry above 16 bits back at the bottom. For sums below 2^32. */
export function fold(sum: number): number {
  const once = (sum & 0xffff) + (sum >>> 16);
  return (once & 0xffff) + (once >>> 16);
}

/**
 * The sum of the pseudo-header that TCP and UDP checksums cover too, RFC 9293 §3.1 and RFC 8200 §8.1.
 *
 * @param length of the transport header and its payload
 */
export function pseudoHeaderSum(view: DataView, packet: number, protocol: number, length: number): number {
  const version4 = view.getUint8(packet) >> 4 === 4;
  const from = packet + (version4 ? IPV4.source : IPV6.source);
  const end = packet + (version4 ? IPV4.minLength : IPV6.headerLength);
  let sum = protocol + (length & 0xffff) + (length >>> 16);
  for (let at = from; at < end; at += 4) {
    const word = view.getInt32(at);
    sum += (word & 0xffff) + (word >>> 16);
  }
  return fold(sum);
}

/** The checksum after one 16-bit word that it covers changed from `before` to `after`: RFC 1624 §3, equation 3. */
export function updateChecksum(checksum: number, before: number, after: number): number {
  return ~fold((~checksum & 0xffff) + (~before & 0xffff) + after) & 0xffff;
}

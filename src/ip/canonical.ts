/**
 * Whether a text is an address exactly as `formatAddress` writes it, of 4 or 16 bytes: whether
 * `formatAddress(parseAddress(text))` is the text. Allocates nothing, because network maps have thousands of addresses.
 */
export const isCanonical = (text: string, length: 4 | 16): boolean =>
  length === 4 ? isCanonicalIpv4(text) : isCanonicalIpv6(text);

const [DOT, ZERO, NINE, COLON, A, F] = [0x2e, 0x30, 0x39, 0x3a, 0x61, 0x66];

function isCanonicalIpv4(text: string): boolean {
  if (text.length > 15) return false;
  let [parts, digits, value] = [1, 0, 0];
  for (let i = 0; i < text.length; i++) {
    const char = text.charCodeAt(i);
    if (char === DOT) {
      if (digits === 0) return false;
      parts++;
      digits = value = 0;
    } else if (char >= ZERO && char <= NINE) {
      if (digits > 0 && value === 0) return false; // a leading zero
      value = value * 10 + char - ZERO;
      digits++;
      if (value > 255) return false;
    } else return false;
  }
  return parts === 4 && digits > 0;
}

const groups = new Uint16Array(8);

/** RFC 5952 §4, and not IPv4-mapped: such an address is formatted as IPv4. */
function isCanonicalIpv6(text: string): boolean {
  if (text.length < 2 || text.length > 39) return false;
  let [count, digits, value, gap] = [0, 0, 0, -1];
  for (let i = 0; i < text.length; i++) {
    const char = text.charCodeAt(i);
    if (char === COLON) {
      if (digits > 0) groups[count++] = value;
      if (text.charCodeAt(i + 1) === COLON) {
        if (gap >= 0) return false;
        gap = count;
        i++;
      } else if (digits === 0 || i + 1 === text.length) return false;
      if (count > 7) return false;
      digits = value = 0;
    } else {
      const digit = hexDigit(char);
      if (digit < 0 || digits === 4 || (digits > 0 && value === 0)) return false;
      value = value * 16 + digit;
      digits++;
    }
  }
  if (digits > 0) groups[count++] = value;
  if (gap < 0) return count === 8 && longestZeroRun(8).length < 2;
  return expand(count, gap);
}

/** Inserts the zeros that `::` at group `gap` stands for, and checks that `::` is in the right place. */
function expand(count: number, gap: number): boolean {
  const missing = 8 - count;
  if (missing < 2) return false;
  groups.copyWithin(gap + missing, gap, count);
  groups.fill(0, gap, gap + missing);
  const { start, length } = longestZeroRun(8);
  return start === gap && length === missing && !isMapped();
}

const isMapped = (): boolean =>
  groups[5] === 0xffff && groups[0]! + groups[1]! + groups[2]! + groups[3]! + groups[4]! === 0;

const run = { start: 0, length: 0 };
function longestZeroRun(count: number): typeof run {
  run.start = run.length = 0;
  for (let start = 0; start < count; start++) {
    let end = start;
    while (end < count && groups[end] === 0) end++;
    if (end - start > run.length) {
      run.start = start;
      run.length = end - start;
    }
    start = Math.max(start, end);
  }
  return run;
}

function hexDigit(char: number): number {
  if (char >= ZERO && char <= NINE) return char - ZERO;
  return char >= A && char <= F ? char - A + 10 : -1;
}

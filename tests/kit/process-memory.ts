import { closeSync, openSync, readFileSync, readSync } from 'node:fs';

/** A secret found in a process's memory. */
export interface Finding {
  /** The secret and its form: `session key: raw, second half`. */
  readonly what: string;
  readonly address: string;
  /** `[heap]`, `[stack]`, a file, or empty for anonymous memory. */
  readonly region: string;
}

export interface Region {
  readonly start: number;
  readonly end: number;
  readonly name: string;
}

/** Bytes read at a time. */
const CHUNK = 1 << 20;

/**
 * Searches the memory of a running process for secrets: raw, in hexadecimal and in base64, the text forms as Latin-1
 * and as UTF-16. It searches for each half separately, since freed memory is often overwritten at its beginning.
 *
 * @param secrets by name, 32 bytes each
 */
export function findInMemory(pid: number, secrets: Readonly<Record<string, Uint8Array>>): Finding[] {
  const patterns = Object.entries(secrets).flatMap(([name, secret]) => patternsOf(name, secret));
  const longest = Math.max(...patterns.map(({ bytes }) => bytes.length));
  const findings: Finding[] = [];
  for (const { region, at, bytes } of readMemory(pid, longest)) {
    for (const { what, bytes: pattern } of patterns) {
      for (let found = bytes.indexOf(pattern); found >= 0; found = bytes.indexOf(pattern, found + 1)) {
        if (found > bytes.length - longest && at + bytes.length < region.end) break; // the next chunk has it too
        findings.push({ what, address: (at + found).toString(16), region: region.name });
      }
    }
  }
  return findings;
}

interface Pattern {
  readonly what: string;
  readonly bytes: Buffer;
}

function patternsOf(name: string, secret: Uint8Array): Pattern[] {
  const raw = Buffer.from(secret);
  const hex = raw.toString('hex');
  const base64 = raw.toString('base64');
  const patterns: Pattern[] = [
    { what: `${name}: raw, first half`, bytes: raw.subarray(0, 16) },
    { what: `${name}: raw, second half`, bytes: raw.subarray(16) },
  ];
  for (const [form, text] of Object.entries({ hex, HEX: hex.toUpperCase(), base64 })) {
    for (const encoding of ['latin1', 'utf16le'] as const) {
      const [first, second] = [text.slice(0, 20), text.slice(20, 40)];
      patterns.push({
        what: `${name}: ${form} ${encoding}, first half`,
        bytes: Buffer.from(first, encoding),
      });
      patterns.push({
        what: `${name}: ${form} ${encoding}, second half`,
        bytes: Buffer.from(second, encoding),
      });
    }
  }
  return patterns;
}

/**
 * The memory of a process, in overlapping chunks, without chunks of zeros.
 *
 * @param overlap bytes
 */
export function* readMemory(
  pid: number,
  overlap: number,
): Generator<{ readonly region: Region; readonly at: number; readonly bytes: Buffer }, void, void> {
  const buffer = Buffer.alloc(CHUNK);
  const zeros = Buffer.alloc(CHUNK);
  const fd = openSync(`/proc/${pid}/mem`, 'r');
  try {
    for (const region of regionsOf(pid)) {
      for (let at = region.start; at < region.end; at += CHUNK - overlap) {
        let length: number;
        try {
          length = readSync(fd, buffer, 0, Math.min(CHUNK, region.end - at), at);
        } catch {
          continue; // unmapped meanwhile
        }
        const bytes = buffer.subarray(0, length);
        if (!bytes.equals(zeros.subarray(0, length))) yield { region, at, bytes };
      }
    }
  } finally {
    closeSync(fd);
  }
}

/** All readable regions, without read-only files and the kernel's own regions. */
function regionsOf(pid: number): Region[] {
  const regions: Region[] = [];
  for (const line of readFileSync(`/proc/${pid}/maps`, 'utf8').trimEnd().split('\n')) {
    const [, start, end, flags, name = ''] = /^(\w+)-(\w+) (\S+) \S+ \S+ \S+\s*(.*)$/.exec(line) ?? [];
    if (!flags?.startsWith('r') || name === '[vvar]' || name === '[vsyscall]' || name === '[vdso]') continue;
    if (name.startsWith('/') && flags[1] !== 'w') continue;
    regions.push({ start: Number.parseInt(start!, 16), end: Number.parseInt(end!, 16), name });
  }
  return regions;
}

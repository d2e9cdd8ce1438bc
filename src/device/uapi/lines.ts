/** The longest line of a request, as in wireguard-go; the longest meaningful one has 78 bytes. */
export const MAX_LINE = 65_536;

/**
 * Cuts chunks into lines. It keeps a bounded part of an incomplete line, and erases it as soon as the line is complete:
 * it may be a key.
 */
export class LineSplitter {
  #kept = Buffer.alloc(0);
  #length = 0;

  /**
   * The lines that a chunk completes, without their newlines: parts of the chunk, or of a buffer that is erased when
   * the next one is asked for. `too-long` is the last result: no further line can be found.
   */
  *lines(chunk: Buffer): Generator<Buffer | 'too-long', void, void> {
    let at = 0;
    for (let end = endOfLine(chunk, at); end < chunk.length; end = endOfLine(chunk, at)) {
      if (this.#length + end - at > MAX_LINE) return yield 'too-long';
      if (this.#length === 0) yield chunk.subarray(at, end);
      else {
        this.#keep(chunk, at, end);
        yield this.#kept.subarray(0, this.#length);
        this.erase();
      }
      at = end + 1;
    }
    if (this.#length + chunk.length - at > MAX_LINE) return yield 'too-long';
    this.#keep(chunk, at, chunk.length);
  }

  /** Forgets an incomplete line. */
  erase(): void {
    this.#kept.fill(0, 0, this.#length);
    this.#length = 0;
  }

  #keep(chunk: Buffer, start: number, end: number): void {
    const length = this.#length + end - start;
    if (length > this.#kept.length) {
      const larger = Buffer.alloc(Math.min(MAX_LINE, Math.max(MIN_KEPT, 2 * length)));
      this.#kept.copy(larger, 0, 0, this.#length);
      this.#kept.fill(0);
      this.#kept = larger;
    }
    chunk.copy(this.#kept, this.#length, start, end);
    this.#length = length;
  }
}

const NEWLINE = 0x0a;

/** Not by `indexOf`: lines are short, and it would cost more than parsing a line. */
function endOfLine(chunk: Buffer, at: number): number {
  let end = at;
  while (end < chunk.length && chunk[end] !== NEWLINE) end++;
  return end;
}
const MIN_KEPT = 256;

/**
 * The server's side of a WebSocket, RFC 6455, without I/O. Input is kept in one buffer, at most twice as long as what
 * arrived and never longer than the limit, however it is split into frames and segments.
 *
 *     push(chunk)        when bytes arrive, after `next` has returned undefined
 *     next               one frame at a time, so that the caller decides how many to read in a turn
 */
export const OPCODE = { continuation: 0, text: 1, binary: 2, close: 8, ping: 9, pong: 10 } as const;

/** RFC 6455 §7.4.1. */
const CODE = { normal: 1000, protocol: 1002, unsupported: 1003, none: 1005, tooLong: 1009 } as const;

const FINAL = 0x80;
const RESERVED = 0x70;
const MASKED = 0x80;
const CONTROL = 8;
/** §5.5: of a control frame, bytes. */
const MAX_CONTROL = 125;
const MAX_HEADER = 14;

export type WebSocketEvent =
  /** A whole binary message, in the pushed chunk or in the receiver's buffer. It may be overwritten. */
  | { readonly kind: 'message'; readonly bytes: Uint8Array }
  /** A part of a message: nothing to do, but it counts as work. */
  | { readonly kind: 'part' }
  | { readonly kind: 'ping'; readonly bytes: Uint8Array }
  | { readonly kind: 'pong' }
  /** The other side closes. The last event. */
  | { readonly kind: 'close'; readonly code: number }
  /** Invalid, or longer than the limit: close with this code. The last event. */
  | { readonly kind: 'failed'; readonly code: number };

const PART = { kind: 'part' } as const;
const PONG = { kind: 'pong' } as const;
const EMPTY = new Uint8Array(0);

export class WebSocketReader {
  /** The longest message from now on, bytes. */
  limit: number;
  #chunk: Uint8Array = EMPTY;
  #at = 0;
  readonly #header = new Uint8Array(MAX_HEADER);
  #headerLength = 0;
  /** The frame whose header is complete; -1 while there is none. */
  #opcode = -1;
  #isFinal = false;
  /** This frame's payload: its length, and how much of it was read. */
  #length = 0;
  #taken = 0;
  /** The offset of the mask in the header. */
  #mask = 0;
  /** The message so far, from earlier frames or chunks. */
  #message: Uint8Array = EMPTY;
  #messageLength = 0;
  #isFragmented = false;
  #control: Uint8Array = EMPTY;
  #ended = false;

  constructor(limit: number) {
    this.limit = limit;
  }

  /** Bytes that are kept until more come. */
  get held(): number {
    return this.#message.length + this.#control.length + (this.#chunk.length - this.#at);
  }

  /** @param chunk is overwritten */
  push(chunk: Uint8Array): void {
    if (this.#at < this.#chunk.length) throw new Error('next() has more to say');
    if (this.#ended) return;
    this.#chunk = chunk;
    this.#at = 0;
  }

  /** @returns undefined when more bytes are needed */
  next(): WebSocketEvent | undefined {
    if (this.#ended) return undefined;
    if (this.#opcode < 0) {
      const code = this.#readHeader();
      if (code !== 0) return this.#end({ kind: 'failed', code });
    }
    const event = this.#opcode < 0 ? undefined : this.#readPayload();
    if (this.#at === this.#chunk.length) {
      this.#chunk = EMPTY; // frees the memory
      this.#at = 0;
    }
    return event;
  }

  #end(event: WebSocketEvent): WebSocketEvent {
    this.#ended = true;
    this.#chunk = this.#message = this.#control = EMPTY;
    this.#at = 0;
    return event;
  }

  /** @returns 0, or the code to close with */
  #readHeader(): number {
    const header = this.#header;
    for (;;) {
      const need = this.#headerLength < 2 ? 2 : headerLength(header);
      if (this.#headerLength === need) break;
      if (this.#at === this.#chunk.length) return 0;
      header[this.#headerLength++] = this.#chunk[this.#at++]!;
    }
    const opcode = header[0]! & 0x0f;
    const isFinal = (header[0]! & FINAL) !== 0;
    if ((header[0]! & RESERVED) !== 0 || (header[1]! & MASKED) === 0) return CODE.protocol;
    const length = payloadLength(header);
    if (opcode >= CONTROL) {
      if (opcode > OPCODE.pong || !isFinal || length > MAX_CONTROL) return CODE.protocol;
    } else {
      if (opcode > OPCODE.binary || (opcode === OPCODE.continuation) !== this.#isFragmented)
        return CODE.protocol;
      if (opcode === OPCODE.text) return CODE.unsupported;
      if (this.#messageLength + length > this.limit) return CODE.tooLong;
      this.#isFragmented = !isFinal;
    }
    this.#opcode = opcode;
    this.#isFinal = isFinal;
    this.#length = length;
    this.#taken = 0;
    this.#mask = this.#headerLength - 4;
    this.#headerLength = 0;
    return 0;
  }

  #readPayload(): WebSocketEvent | undefined {
    const begin = this.#at;
    const end = Math.min(this.#chunk.length, begin + this.#length - this.#taken);
    this.#unmask(begin, end);
    this.#at = end;
    const part = this.#chunk.subarray(begin, end);
    const before = this.#taken;
    this.#taken += part.length;
    const isWhole = this.#taken === this.#length;
    const opcode = this.#opcode;
    if (isWhole) this.#opcode = -1;
    return opcode >= CONTROL
      ? this.#controlPart(opcode, before, part, isWhole)
      : this.#messagePart(part, isWhole);
  }

  #messagePart(part: Uint8Array, isWhole: boolean): WebSocketEvent | undefined {
    if (isWhole && this.#isFinal && this.#messageLength === 0) return { kind: 'message', bytes: part };
    this.#message = append(this.#message, this.#messageLength, part, this.limit);
    this.#messageLength += part.length;
    if (!isWhole) return undefined;
    if (!this.#isFinal) return PART;
    const bytes = this.#message.subarray(0, this.#messageLength);
    this.#message = EMPTY;
    this.#messageLength = 0;
    return { kind: 'message', bytes };
  }

  #controlPart(
    opcode: number,
    before: number,
    part: Uint8Array,
    isWhole: boolean,
  ): WebSocketEvent | undefined {
    this.#control = append(this.#control, before, part, MAX_CONTROL);
    if (!isWhole) return undefined;
    const bytes = this.#control.subarray(0, this.#length);
    this.#control = EMPTY;
    if (opcode === OPCODE.ping) return { kind: 'ping', bytes };
    if (opcode === OPCODE.pong) return PONG;
    if (bytes.length === 0) return this.#end({ kind: 'close', code: CODE.none });
    const code = bytes.length === 1 ? 0 : bytes[0]! * 256 + bytes[1]!;
    return this.#end(
      isValidCloseCode(code) ? { kind: 'close', code } : { kind: 'failed', code: CODE.protocol },
    );
  }

  #unmask(begin: number, end: number): void {
    const chunk = this.#chunk;
    const header = this.#header;
    for (let at = begin, i = this.#taken; at < end; at++, i++) {
      chunk[at] = chunk[at]! ^ header[this.#mask + (i & 3)]!;
    }
  }
}

/** §7.4: 1004 to 1006 and 1015 are never sent; 3000 to 4999 are for libraries and applications. */
const isValidCloseCode = (code: number): boolean =>
  (code >= 1000 && code <= 1014 && (code < 1004 || code > 1006)) || (code >= 3000 && code <= 4999);

/** From the first two bytes. */
function headerLength(header: Uint8Array): number {
  const short = header[1]! & 0x7f;
  const extended = short === 126 ? 2 : short === 127 ? 8 : 0;
  return 2 + extended + ((header[1]! & MASKED) === 0 ? 0 : 4);
}

function payloadLength(header: Uint8Array): number {
  const short = header[1]! & 0x7f;
  if (short < 126) return short;
  let length = 0;
  for (let i = 2; i < (short === 126 ? 4 : 10); i++) length = length * 256 + header[i]!;
  return length;
}

/** @returns `buffer`, or a longer one, with `part` at `length` */
function append(buffer: Uint8Array, length: number, part: Uint8Array, limit: number): Uint8Array {
  const needed = length + part.length;
  let room = buffer;
  if (needed > room.length) {
    room = new Uint8Array(Math.min(Math.max(limit, needed), Math.max(needed, 2 * length)));
    room.set(buffer.subarray(0, length));
  }
  room.set(part, length);
  return room;
}

/** The header of a frame from the server: final, and not masked. */
export function frameHeader(opcode: number, length: number): Uint8Array {
  const first = FINAL | opcode;
  if (length < 126) return Uint8Array.of(first, length);
  if (length < 65_536) return Uint8Array.of(first, 126, length >> 8, length & 0xff);
  const header = Uint8Array.of(first, 127, 0, 0, 0, 0, 0, 0, 0, 0);
  for (let i = 9, rest = length; rest > 0; i--, rest = Math.floor(rest / 256)) header[i] = rest % 256;
  return header;
}

/** A whole frame, for short payloads. */
export function smallFrame(opcode: number, payload: Uint8Array): Uint8Array {
  const header = frameHeader(opcode, payload.length);
  const frame = new Uint8Array(header.length + payload.length);
  frame.set(header);
  frame.set(payload, header.length);
  return frame;
}

export const closeFrame = (code: number): Uint8Array =>
  smallFrame(OPCODE.close, code === CODE.none ? EMPTY : Uint8Array.of(code >> 8, code & 0xff));

import { ascii } from '../wireguard/crypto.js';

/** The longest head of a request, bytes. A node's has about 200, and reverse proxies add to it. */
export const MAX_HEAD = 4096;
/** RFC 6455 §1.3. */
export const WEBSOCKET_GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';

/** The head of an HTTP request: RFC 9112. */
export interface RequestHead {
  readonly method: string;
  /** Without the query. */
  readonly path: string;
  /** Names in lower case. Repeated headers are joined with commas. */
  readonly headers: ReadonlyMap<string, string>;
}

const END = ascii('\r\n\r\n');
const EMPTY = new Uint8Array(0);

/** Collects the head of a request. Keeps at most `MAX_HEAD` bytes, and no more than arrived. */
export class HeadReader {
  #bytes: Uint8Array = EMPTY;

  /** Bytes that are kept until more come. */
  get held(): number {
    return this.#bytes.length;
  }

  /**
   * @returns undefined when more bytes are needed; `malformed` for an invalid or too long request; or the head, and
   *   the bytes behind it
   */
  push(
    chunk: Uint8Array,
  ): { readonly head: RequestHead; readonly rest: Uint8Array } | 'malformed' | undefined {
    const before = this.#bytes.length;
    const taken = chunk.subarray(0, MAX_HEAD - before);
    const bytes = new Uint8Array(before + taken.length);
    bytes.set(this.#bytes);
    bytes.set(taken, before);
    const end = indexOfEnd(bytes, Math.max(0, before - END.length + 1));
    if (end < 0) {
      this.#bytes = bytes;
      return bytes.length === MAX_HEAD || !mayBeRequest(bytes) ? 'malformed' : undefined;
    }
    this.#bytes = EMPTY;
    const head = parseHead(bytes.subarray(0, end));
    return head === undefined ? 'malformed' : { head, rest: chunk.subarray(end + END.length - before) };
  }
}

function indexOfEnd(bytes: Uint8Array, from: number): number {
  for (let at = from; at + END.length <= bytes.length; at++) {
    if (END.every((byte, i) => bytes[at + i] === byte)) return at;
  }
  return -1;
}

/** A method in capitals: RFC 9110 §9.1. */
const mayBeRequest = (bytes: Uint8Array): boolean =>
  bytes.length === 0 || (bytes[0]! >= 0x41 && bytes[0]! <= 0x5a);

const REQUEST_LINE = /^([A-Z]{1,32}) ([\x21-\x7e]+) HTTP\/1\.[01]$/;
/** RFC 9110 §5.6.2. */
const TOKEN = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;

function parseHead(bytes: Uint8Array): RequestHead | undefined {
  let text = '';
  for (const byte of bytes) text += String.fromCharCode(byte);
  const [first, ...lines] = text.split('\r\n');
  const request = REQUEST_LINE.exec(first!);
  if (request === null) return undefined;
  const headers = new Map<string, string>();
  for (const line of lines) {
    const colon = line.indexOf(':');
    const name = line.slice(0, Math.max(0, colon)).toLowerCase();
    const value = line.slice(colon + 1).trim();
    if (!TOKEN.test(name) || hasControl(value)) return undefined;
    const other = headers.get(name);
    headers.set(name, other === undefined ? value : `${other}, ${value}`);
  }
  return { method: request[1]!, path: request[2]!.split('?')[0]!, headers };
}

function hasControl(text: string): boolean {
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if ((code < 0x20 && code !== 0x09) || code === 0x7f) return true;
  }
  return false;
}

/** Whether a request asks for a WebSocket: RFC 6455 §4.2.1. */
export const wantsWebSocket = ({ headers }: RequestHead): boolean =>
  (headers.get('upgrade') ?? '').toLowerCase() === 'websocket';

/** The key of a valid WebSocket request. */
export function webSocketKey({ method, headers }: RequestHead): string | undefined {
  const connection = (headers.get('connection') ?? '').toLowerCase().split(',');
  const key = headers.get('sec-websocket-key') ?? '';
  const isRight =
    method === 'GET' &&
    connection.some((token) => token.trim() === 'upgrade') &&
    headers.get('sec-websocket-version') === '13' &&
    /^[+/0-9A-Za-z]{22}==$/.test(key);
  return isRight ? key : undefined;
}

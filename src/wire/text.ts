/** WHATWG's, which every runtime has, and no library of ECMAScript's declares. */
declare class TextEncoder {
  encode(text: string): Uint8Array;
}
declare class TextDecoder {
  constructor(label: string, options: { readonly fatal: boolean });
  decode(bytes: Uint8Array): string;
}

const encoder = new TextEncoder();
const decoder = new TextDecoder('utf-8', { fatal: true });

/** A value as JSON in UTF-8. */
export const encodeJson = (value: object): Uint8Array => encoder.encode(JSON.stringify(value));

/** What JSON says, as data that nobody has checked; undefined (which no JSON says) when it is none. */
export function decodeJson(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(decoder.decode(bytes)) as unknown;
  } catch {
    return undefined;
  }
}

/** WHATWG's, which every runtime has, although ECMAScript's type library does not declare it. */
declare class TextEncoder {
  encode(text: string): Uint8Array;
}
declare class TextDecoder {
  constructor(label: string, options: { readonly fatal: boolean });
  decode(bytes: Uint8Array): string;
}
declare function btoa(text: string): string;
declare function atob(text: string): string;

const encoder = new TextEncoder();
const decoder = new TextDecoder('utf-8', { fatal: true });

export const encodeText = (text: string): Uint8Array => encoder.encode(text);

/** A value as JSON in UTF-8. */
export const encodeJson = (value: object): Uint8Array => encodeText(JSON.stringify(value));

/** Parses JSON, without any check of its content. @returns undefined when it is not JSON */
export function decodeJson(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(decoder.decode(bytes)) as unknown;
  } catch {
    return undefined;
  }
}

export const encodeBase64 = (bytes: Uint8Array): string => btoa(String.fromCharCode(...bytes));

/** @param text well-formed; the schemas check that of all input */
export function decodeBase64(text: string): Uint8Array {
  const characters = atob(text);
  const bytes = new Uint8Array(characters.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = characters.charCodeAt(i);
  return bytes;
}

/**
 * Characters that a terminal, a log or a unit file would obey instead of showing them: control characters, and those that
 * change the direction of text or break lines (U+061C, U+200E, U+200F, U+2028 to U+202E, U+2066 to U+2069). Written for a
 * character class in a regular expression.
 */
export const UNSHOWN = '\\u0000-\\u001f\\u007f-\\u009f\\u061c\\u200e\\u200f\\u2028-\\u202e\\u2066-\\u2069';

const unshown = new RegExp(`[${UNSHOWN}]`);
const unshownButLines = new RegExp(`(?!\\n)[${UNSHOWN}]`, 'g');

/** Whether a name or path contains none of them. */
export const isShown = (text: string): boolean => !unshown.test(text);

/** Replaces each of them with U+FFFD, except line feeds: the last guard before text is printed. */
export const forTerminal = (text: string): string => text.replace(unshownButLines, '\ufffd');

/** What to do about twins. */
export const TWIN_ADVICE =
  'one of the two has a copied state directory; stop the copy, run `lametun leave --force` there, and join again with a new token';

/** What nodes that speak version 1 do not know: never the first field of an object, and no name can look like it. */
const SINCE_2 = ',"ipv4Only":true';

/** What everyone is sent is the same memory, and is written anew once. */
const written = new WeakMap<Uint8Array, Uint8Array>();

/** A message in JSON for a node that speaks version 1. */
export function forVersion1(message: Uint8Array): Uint8Array {
  const before = written.get(message);
  if (before !== undefined) return before;
  const { buffer, byteOffset, byteLength } = message;
  const bytes = Buffer.from(buffer, byteOffset, byteLength);
  // As latin1 every byte is a character, and comes back as it was.
  const after = bytes.includes(SINCE_2)
    ? Buffer.from(bytes.toString('latin1').replaceAll(SINCE_2, ''), 'latin1')
    : message;
  written.set(message, after);
  return after;
}

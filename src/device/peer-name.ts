/** A public key's name in logs: `peer(q6ur…rq6s)`, the ends of its base64 text. */
export function peerName(publicKey: Uint8Array): string {
  const text = Buffer.from(publicKey).toString('base64');
  return `peer(${text.slice(0, 4)}…${text.slice(39, 43)})`;
}

import { createHash } from 'node:crypto';
import { NodeCrypto } from '../../src/crypto/node-crypto.js';
import type { PrivateKey } from '../../src/wireguard/crypto.js';
import { interfaceText, peerText } from './hosts.js';

export const crypto = new NodeCrypto();

/** A key that is the same in every process. It protects nothing. */
const keyBytes = (name: string): Uint8Array =>
  Uint8Array.from(createHash('sha256').update(`lametun bench ${name}`).digest());

const base64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64');

/** The key of the device under load. */
export const responderKey = (): PrivateKey => crypto.privateKey(keyBytes('responder'));
export const peerKey = (index: number): PrivateKey => crypto.privateKey(keyBytes(`peer ${index}`));
export const strangerKey = (index: number): PrivateKey => crypto.privateKey(keyBytes(`stranger ${index}`));

/** Public keys of the first peers, base64. Cached, since making them takes longer than loading them into a device. */
export function publicKeys(count: number): readonly string[] {
  while (cachedKeys.length < count) cachedKeys.push(base64(peerKey(cachedKeys.length).publicKey.bytes));
  return cachedKeys.slice(0, count);
}
const cachedKeys: string[] = [];

export const responderText = (port: number): string => interfaceText(base64(keyBytes('responder')), port);

/** The configuration of some of the peers, each with its own address. */
export const peersText = (from: number, to: number): string =>
  publicKeys(to)
    .slice(from)
    .map((key, i) =>
      peerText(key, [`10.${128 + ((from + i) >> 16)}.${((from + i) >> 8) & 255}.${(from + i) & 255}/32`]),
    )
    .join('');

/** The configuration of one peer with 65 025 networks. */
export function networksText(): string {
  const networks: string[] = [];
  for (let a = 0; a < 255; a++) for (let b = 0; b < 255; b++) networks.push(`10.${a}.${b}.0/24`);
  return peerText(publicKeys(1)[0]!, networks);
}

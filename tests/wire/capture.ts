import { NodeCrypto } from '../../src/crypto/node-crypto.js';
import { enhancedPacket, interfaceDescription, LINK_TYPE, sectionHeader } from '../../src/demo/pcapng.js';
import { OUTER, type Scene, SECRETS, WALL_CLOCK } from './scene.js';

/** The datagrams of the scene as a capture for Wireshark. */
export function capture(scene: Scene): Uint8Array {
  const fromLaptop = new Set([scene.initiation, scene.data]);
  return Buffer.concat([
    sectionHeader('lametun'),
    interfaceDescription({ name: 'outer', linkType: LINK_TYPE.raw }),
    ...[scene.initiation, scene.response, scene.data, scene.keepalive].map((made) => {
      const outgoing = fromLaptop.has(made);
      const bytes = outgoing ? udp('laptop', 'server', made.bytes) : udp('server', 'laptop', made.bytes);
      const time = BigInt(Math.round((WALL_CLOCK + made.at) * 1000)) * 1000n;
      return enhancedPacket({ interface: 0, time, bytes, outgoing });
    }),
  ]);
}

/** The file for Wireshark's wg.keylog_file: the keys of one side and the preshared key. */
export function keyLog(): string {
  const base64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64');
  const theirs = new NodeCrypto().privateKey(SECRETS.server.static).publicKey.bytes;
  return [
    `LOCAL_STATIC_PRIVATE_KEY = ${base64(SECRETS.laptop.static)}`,
    `REMOTE_STATIC_PUBLIC_KEY = ${base64(theirs)}`,
    `LOCAL_EPHEMERAL_PRIVATE_KEY = ${base64(SECRETS.laptop.ephemeral)}`,
    `PRESHARED_KEY = ${base64(SECRETS.preshared)}`,
    '',
  ].join('\n');
}

/** A datagram with IPv4 and UDP headers, both without checksums, as in many captures. */
function udp(from: keyof typeof OUTER, to: keyof typeof OUTER, payload: Uint8Array): Uint8Array {
  const packet = Buffer.alloc(28 + payload.length);
  packet.set([0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 17]);
  packet.writeUInt16BE(packet.length, 2);
  packet.set(OUTER[from].bytes.subarray(0, 4), 12);
  packet.set(OUTER[to].bytes.subarray(0, 4), 16);
  packet.set(OUTER[from].bytes.subarray(4), 20);
  packet.set(OUTER[to].bytes.subarray(4), 22);
  packet.writeUInt16BE(8 + payload.length, 24);
  packet.set(payload, 28);
  return packet;
}

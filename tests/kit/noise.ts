/**
 * Sends what strangers might: random bytes, real datagrams cut short, and real ones with some bits turned.
 *
 *     node noise.js HOST PORT COUNT SEED PID [LOCAL_PORT]
 *
 * The real ones come as a JSON array of hexadecimal strings on standard input. No faster than the receiver reads, which is
 * the process PID, for what the kernel drops tests nothing.
 */
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { isIPv6 } from 'node:net';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep, setImmediate as turn } from 'node:timers/promises';

/** Numbers that look random and are the same for the same seed: mulberry32. */
export function randomNumbers(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  };
}

/** One datagram of noise. */
export function noise(random: () => number, real: readonly Uint8Array[]): Uint8Array {
  const below = (limit: number): number => Math.floor(random() * limit);
  const kind = below(3);
  if (kind === 0) return Uint8Array.from({ length: below(300) }, () => below(256));
  const datagram = real[below(real.length)]!;
  if (kind === 1) return datagram.slice(0, below(datagram.length));
  const turned = datagram.slice();
  for (let i = below(4); i >= 0; i--) turned[below(Math.min(turned.length, 48))]! ^= 1 << below(8);
  return turned;
}

/** Bytes, as the kernel counts them: a small part of what the receiver's queue holds. */
const QUEUED = 1 << 20;

/** How much waits in the queues of the sockets of a port, in the network of a process, /proc/net/udp. Bytes. */
function queued(pid: number, port: number): number {
  const ours = new RegExp(`^ *\\d+: [0-9A-F]+:${port.toString(16).toUpperCase().padStart(4, '0')} `);
  let bytes = 0;
  for (const file of ['udp', 'udp6']) {
    for (const line of readFileSync(`/proc/${pid}/net/${file}`, 'latin1').split('\n')) {
      if (ours.test(line)) bytes += Number.parseInt(line.trim().split(/\s+/)[4]!.split(':')[1]!, 16);
    }
  }
  return bytes;
}

async function main([host, port, count, seed, pid, localPort]: readonly string[]): Promise<void> {
  const real = (JSON.parse(await text(process.stdin)) as string[]).map((hex) => Buffer.from(hex, 'hex'));
  const socket = createSocket(isIPv6(host!) ? 'udp6' : 'udp4');
  socket.on('error', () => {}); // nobody there, or something in between: noise does not care
  socket.bind(Number(localPort ?? 0));
  await once(socket, 'listening');
  const random = randomNumbers(Number(seed));
  for (let sent = 0; sent < Number(count); sent++) {
    socket.send(noise(random, real), Number(port), host);
    if (sent % 50 !== 49) continue;
    await turn();
    while (sent % 500 === 499 && queued(Number(pid), Number(port)) > QUEUED) await sleep(1);
  }
  socket.close();
}

if (process.argv[1]?.endsWith('noise.js')) await main(process.argv.slice(2));

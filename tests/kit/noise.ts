/**
 * Sends what a stranger might: random bytes, truncated real datagrams, and real datagrams with flipped bits.
 *
 *     node noise.js HOST PORT COUNT SEED PID [LOCAL_PORT]
 *
 * Reads the real ones from standard input, as a JSON array of hexadecimal strings. Waits while the queue of the receiver,
 * process PID, is full: a datagram that the kernel drops tests nothing.
 */
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { isIPv6 } from 'node:net';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep, setImmediate as turn } from 'node:timers/promises';

/** Reproducible pseudo-random numbers in [0, 1): mulberry32. */
export function randomNumbers(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  };
}

/** Generates one datagram. */
export function noise(random: () => number, real: readonly Uint8Array[]): Uint8Array {
  const below = (limit: number): number => Math.floor(random() * limit);
  const kind = below(3);
  if (kind === 0) return Uint8Array.from({ length: below(300) }, () => below(256));
  const datagram = real[below(real.length)]!;
  if (kind === 1) return datagram.slice(0, below(datagram.length));
  const flipped = datagram.slice();
  for (let i = below(4); i >= 0; i--) flipped[below(Math.min(flipped.length, 48))]! ^= 1 << below(8);
  return flipped;
}

/** A small part of the receiver's queue, bytes as the kernel counts them. */
const QUEUED = 1 << 20;

/** Bytes in the receive queues of a port's sockets, in the network namespace of a process: /proc/net/udp. */
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
  socket.on('error', () => {}); // an unreachable receiver does not matter
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

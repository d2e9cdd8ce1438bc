/**
 * Plays captured datagrams at a tunnel, one after the other, and prints what comes back to each, as JSON:
 *
 *     node exchange.js HOST
 *
 * The datagrams come as a JSON array of hexadecimal strings on standard input.
 */
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { text } from 'node:stream/consumers';

const PORT = 1234;
const PATIENCE = 3_000;

const datagrams = JSON.parse(await text(process.stdin)) as string[];
const socket = createSocket('udp4').bind(PORT);
await once(socket, 'listening');
const answers: (string | null)[] = [];
for (const datagram of datagrams) {
  socket.send(Buffer.from(datagram, 'hex'), PORT, process.argv[2]);
  const answer = await once(socket, 'message', { signal: AbortSignal.timeout(PATIENCE) }).catch(() => [null]);
  answers.push((answer[0] as Buffer | null)?.toString('hex') ?? null);
}
console.log(JSON.stringify(answers));
socket.close();

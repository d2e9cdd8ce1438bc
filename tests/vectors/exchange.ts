/**
 * Sends captured datagrams to a tunnel, one after the other, and prints the answers as JSON:
 *
 *     node exchange.js HOST
 *
 * Standard input is a JSON array of the datagrams in hexadecimal.
 */
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { text } from 'node:stream/consumers';
import { until } from '../kit/wait.js';

const PORT = 1234;
const PATIENCE = 10_000;
/** Offsets of the version and of an IPv6 destination, after four bytes of packet information. */
const [VERSION, DESTINATION] = [4, 4 + 24];

const datagrams = JSON.parse(await text(process.stdin)) as string[];
const socket = createSocket('udp4').bind(PORT);
await once(socket, 'listening');
const received: Buffer[] = [];
socket.on('message', (datagram) => void (isForMany(datagram) || received.push(datagram)));
const answers: (string | null)[] = [];
for (const datagram of datagrams) {
  socket.send(Buffer.from(datagram, 'hex'), PORT, process.argv[2]);
  await until('an answer', () => received.length > answers.length, PATIENCE).catch(() => {});
  answers.push(received[answers.length]?.toString('hex') ?? null);
}
console.log(JSON.stringify(answers));
socket.close();

/** Not an answer: for a second or more after a device is up, the kernel sends router solicitations. */
function isForMany(datagram: Buffer): boolean {
  return datagram[VERSION]! >> 4 === 6 && datagram[DESTINATION] === 0xff;
}

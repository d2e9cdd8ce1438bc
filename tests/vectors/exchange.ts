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
import { until } from '../kit/wait.js';

const PORT = 1234;
const PATIENCE = 10_000;
/** Of the packet's version, and of the destination of an IPv6 packet, behind four bytes of packet information. */
const [VERSION, DESTINATION] = [4, 4 + 24];

const datagrams = JSON.parse(await text(process.stdin)) as string[];
const socket = createSocket('udp4').bind(PORT);
await once(socket, 'listening');
const came: Buffer[] = [];
socket.on('message', (datagram) => void (isForMany(datagram) || came.push(datagram)));
const answers: (string | null)[] = [];
for (const datagram of datagrams) {
  socket.send(Buffer.from(datagram, 'hex'), PORT, process.argv[2]);
  await until('an answer', () => came.length > answers.length, PATIENCE).catch(() => {});
  answers.push(came[answers.length]?.toString('hex') ?? null);
}
console.log(JSON.stringify(answers));
socket.close();

/** No answer to anything: for a second or more after it is up the kernel looks for routers behind a tunnel's device. */
function isForMany(datagram: Buffer): boolean {
  return datagram[VERSION]! >> 4 === 6 && datagram[DESTINATION] === 0xff;
}

/**
 * The blog post's program, written in Node in the obvious way: `node naive.js DEVICE PORT [SERVER]`. It has a `dgram`
 * socket, and calls `fs.read` or `fs.writeSync` for each packet. Its wire format is that of the original and of `lametun`,
 * which the benchmark compares with it. Without a server it listens.
 */
import { createSocket } from 'node:dgram';
import { read, writeSync } from 'node:fs';
import { call, libc } from '../../src/linux/ffi/libc.js';
import { Tun } from '../../src/linux/tun/tun.js';

/** asm-generic/fcntl.h. */
const F_SETFL = 4;

const [device, portText, server] = process.argv.slice(2) as [string, string, string | undefined];
const port = Number(portText);

const tun = Tun.open({ name: device, packetInformation: true });
call(libc.fcntl(tun.fd, F_SETFL, 0), 'make reads of the device block');
const socket = createSocket('udp4');
let peer = server === undefined ? undefined : { address: server, port };

socket.on('error', () => {}); // nobody listens yet
socket.on('message', (datagram, from) => {
  peer = from;
  writeSync(tun.fd, datagram); // faster than write(), and in order
});
socket.bind(port, readPacket);

function readPacket(): void {
  const buffer = Buffer.allocUnsafe(2048);
  read(tun.fd, buffer, 0, buffer.length, null, (error, length) => {
    if (error !== null) throw error;
    if (peer !== undefined) socket.send(buffer, 0, length, peer.port, peer.address, () => {});
    readPacket();
  });
}

import { readSync, writeSync } from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { Tun } from '../linux/tun/tun.js';

/**
 * Programs for the comparison of UDP and TCP. Run as `node transports.js ROLE ARGUMENT...`. Each prints a line when it
 * is ready. Their TUN devices exist and are up before.
 */
const ROLES: Readonly<Record<string, (...args: string[]) => void>> = { internet, tunnel, receive, send };
const PORT = { tunnel: 1235, stream: 5001 } as const;
/** While this many bytes wait in its socket, the tunnel over TCP reads no packets. */
const QUEUE = 65_536;
const LENGTH_SIZE = 2;

const [role = '', ...args] = process.argv.slice(2);
ROLES[role]!(...args);

/** A slow internet: what the kernel routes into the device comes back `delay` ms later, or not at all. */
function internet(device: string, delay: string, loss: string): void {
  const tun = Tun.open({ name: device, packetInformation: false });
  readPackets(tun, (packet) => {
    if (Math.random() >= Number(loss)) setTimeout(() => writeSync(tun.fd, packet), Number(delay));
  });
  console.log('ready');
}

/** A tunnel over TCP, to a server or as the server: sends each packet with its length before it. */
function tunnel(device: string, server?: string): void {
  const tun = Tun.open({ name: device, packetInformation: false });
  const carry = (socket: Socket): void => {
    socket.setNoDelay(true);
    readPackets(
      tun,
      (packet) => {
        const length = Buffer.alloc(LENGTH_SIZE);
        length.writeUInt16BE(packet.length);
        socket.write(Buffer.concat([length, packet]));
      },
      () => socket.writableLength < QUEUE,
    );
    let rest = Buffer.alloc(0);
    socket.on('data', (data: Buffer) => {
      rest = Buffer.concat([rest, data]);
      while (rest.length >= LENGTH_SIZE && rest.length >= LENGTH_SIZE + rest.readUInt16BE()) {
        const end = LENGTH_SIZE + rest.readUInt16BE();
        writeSync(tun.fd, rest, LENGTH_SIZE, end - LENGTH_SIZE);
        rest = rest.subarray(end);
      }
    });
    console.log('ready');
  };
  if (server !== undefined)
    connect(PORT.tunnel, server, function (this: Socket) {
      carry(this);
    });
  else createServer(carry).listen(PORT.tunnel, () => console.log('listening'));
}

/** Looks for packets every millisecond. */
function readPackets(tun: Tun, take: (packet: Buffer) => void, mayRead = (): boolean => true): void {
  const buffer = Buffer.alloc(65_536);
  setInterval(() => {
    try {
      while (mayRead()) take(Buffer.from(buffer.subarray(0, readSync(tun.fd, buffer))));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error;
    }
  }, 1);
}

/** Receives a TCP stream for some milliseconds, and prints how many bytes came. */
function receive(milliseconds: string): void {
  createServer((socket) => {
    socket.on('error', () => {});
    setTimeout(() => {
      console.log(socket.bytesRead);
      socket.resetAndDestroy();
    }, Number(milliseconds));
    socket.resume();
  }).listen(PORT.stream, () => console.log('ready'));
}

/** Sends as fast as TCP allows, until the receiver ends the stream. */
function send(host: string): void {
  const data = Buffer.alloc(16_384);
  const socket = connect(PORT.stream, host);
  const fill = (): void => {
    while (socket.write(data));
  };
  socket.on('connect', () => {
    console.log('sending');
    fill();
  });
  socket.on('drain', fill);
  socket.on('error', () => process.exit());
}

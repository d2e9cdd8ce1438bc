/**
 * Transfers bytes over TCP and checks them. It is a program, so that each end can run in another namespace:
 *
 *     node transfer.js serve PORT                    prints "ready" and serves every connection
 *     node transfer.js put|get HOST PORT BYTES       prints the result as JSON
 *
 * The first line from the client is the request. The sender generates the bytes. The server sends their SHA-256 at the
 * end, so that the client can compare both.
 */
import { createHash, randomFillSync } from 'node:crypto';
import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';

/** The result of a transfer, as the client prints it. */
export interface Transferred {
  readonly bytes: number;
  readonly milliseconds: number;
  /** The hash of the bytes as sent, and as received. */
  readonly sentSha256: string;
  readonly receivedSha256: string;
}

const CHUNK = 64 * 1024;
const HASH = 64; // hexadecimal digits

/** Sends random bytes. @returns their hash */
async function send(socket: Socket, bytes: number): Promise<string> {
  const hash = createHash('sha256');
  for (let left = bytes; left > 0; left -= CHUNK) {
    const chunk = randomFillSync(Buffer.allocUnsafe(Math.min(left, CHUNK)));
    hash.update(chunk);
    if (!socket.write(chunk)) await once(socket, 'drain');
  }
  return hash.digest('hex');
}

/** Splits a stream into its first line, a number of bytes that are only hashed, and the text after them. */
class Receiver {
  readonly #hash = createHash('sha256');
  readonly #line = Buffer.alloc(100);
  #lineLength = 0;
  #left: number | undefined;
  text = '';

  /** @param bytes how many to hash; without it, the first line tells */
  constructor(bytes?: number) {
    this.#left = bytes;
  }

  /** @param onLine receives the first line, and returns how many bytes follow */
  take(chunk: Buffer, onLine: (line: string) => number = () => 0): void {
    let at = 0;
    while (this.#left === undefined && at < chunk.length) {
      const byte = chunk[at++]!;
      if (byte === 10) this.#left = onLine(this.#line.toString('utf8', 0, this.#lineLength));
      else this.#line[this.#lineLength++] = byte;
    }
    const part = chunk.subarray(at, at + (this.#left ?? 0));
    this.#hash.update(part);
    if (this.#left !== undefined) this.#left -= part.length;
    this.text += chunk.toString('latin1', at + part.length);
  }

  get complete(): boolean {
    return this.#left === 0;
  }

  digest(): string {
    return this.#hash.copy().digest('hex');
  }
}

function serve(port: number): void {
  const server = createServer({ noDelay: true }, (socket) => {
    const receiver = new Receiver();
    let answered = false;
    socket.on('error', () => {}); // the client reports the error
    socket.on('data', (chunk) => {
      receiver.take(chunk, (line) => {
        const [verb, bytes] = line.split(' ');
        if (verb === 'put') return Number(bytes);
        answered = true;
        void send(socket, Number(bytes)).then((hash) => socket.end(hash));
        return 0;
      });
      if (!receiver.complete || answered) return;
      answered = true;
      socket.end(receiver.digest());
    });
  });
  server.listen(port, '::', () => console.log('ready'));
}

async function transfer(verb: string, host: string, port: number, bytes: number): Promise<Transferred> {
  const socket = connect({ host, port, noDelay: true });
  const receiver = new Receiver(verb === 'put' ? 0 : bytes);
  socket.on('data', (chunk: Buffer) => receiver.take(chunk));
  const closed = once(socket, 'close');
  await once(socket, 'connect');
  const start = performance.now();
  socket.write(`${verb} ${bytes}\n`);
  const sent = verb === 'put' ? await send(socket, bytes) : undefined;
  await closed;
  const told = receiver.text.slice(0, HASH);
  return {
    bytes,
    milliseconds: performance.now() - start,
    sentSha256: sent ?? told,
    receivedSha256: sent === undefined ? receiver.digest() : told,
  };
}

const [verb, ...args] = process.argv.slice(2);
if (verb === 'serve') serve(Number(args[0]));
else console.log(JSON.stringify(await transfer(verb!, args[0]!, Number(args[1]), Number(args[2]))));

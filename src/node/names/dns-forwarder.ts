import { randomInt } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { connect } from 'node:net';
import { answers, isTruncated, type Query, RCODE_RETRY, rcodeOf, withId } from './dns-message.js';

const PORT = 53;
/** How long each name server may take in each round over all of them, milliseconds. Programs give up after about 5 s. */
const ROUNDS: readonly number[] = [1500, 3000];
const TCP_TIMEOUT = 4000;

/** The most different questions at once, far more than one machine asks. */
const MAX_QUESTIONS = 256;
/** The most queries that wait for their answers. */
const MAX_WAITING = 1024;

/** The name servers to ask. */
export interface Servers {
  /** Their present addresses; the first is asked first. */
  readonly addresses: readonly string[];
  /** Sends the question to an address from that same address, so that it fails unless the address is this machine's. */
  readonly own?: true;
}

/**
 * Asks other name servers: those that the machine had before, and those of other networks on it.
 *
 * Each question has its own connected socket with a port from the kernel, and a random id. Answers from elsewhere, and
 * answers that do not repeat the question, are ignored (RFC 5452). While a question is open, the same question waits for
 * the same answer. So a program on this machine that sends questions back to this resolver causes silence, not a storm.
 */
export class DnsForwarder {
  readonly #asked = new Map<string, Promise<Buffer | undefined>>();
  #waiting = 0;

  /**
   * @param whole whether the program asked by TCP, so that a truncated answer is useless
   * @returns the answer with the query's id; undefined when no server answered, `busy` when there are too many questions
   */
  async ask(
    query: Query,
    message: Buffer,
    whole: boolean,
    servers: () => Servers,
  ): Promise<Buffer | undefined | 'busy'> {
    const whom = servers().own ? servers().addresses.join() : '';
    const key = `${whole}${whom}/${message.toString('latin1', 2)}`;
    let asked = this.#asked.get(key);
    if (this.#waiting >= MAX_WAITING || (asked === undefined && this.#asked.size >= MAX_QUESTIONS))
      return 'busy';
    if (asked === undefined) {
      asked = this.#ask(query, message, whole, servers).finally(() => this.#asked.delete(key));
      this.#asked.set(key, asked);
    }
    this.#waiting++;
    try {
      const reply = await asked;
      return reply && withId(reply, query.id);
    } finally {
      this.#waiting--;
    }
  }

  async #ask(
    query: Query,
    message: Buffer,
    whole: boolean,
    servers: () => Servers,
  ): Promise<Buffer | undefined> {
    let refusal: Buffer | undefined;
    for (const timeout of ROUNDS) {
      const { addresses, own: isOwn } = servers();
      for (const server of addresses) {
        const from = isOwn ? server : undefined;
        const id = randomInt(65536);
        const own = withId(message, id);
        const isAnswer = (reply: Buffer): boolean => answers(reply, id, own, query.end);
        let reply = await askByUdp(server, from, own, isAnswer, timeout);
        if (whole && reply !== undefined && isTruncated(reply)) {
          reply = (await askByTcp(server, from, own, isAnswer)) ?? reply;
        }
        if (reply !== undefined && !RCODE_RETRY.has(rcodeOf(reply))) return reply;
        refusal ??= reply;
      }
      if (refusal !== undefined) break; // every server that can answer has answered
    }
    return refusal;
  }
}

type IsAnswer = (reply: Buffer) => boolean;

function askByUdp(
  server: string,
  from: string | undefined,
  query: Buffer,
  isAnswer: IsAnswer,
  timeout: number,
): Promise<Buffer | undefined> {
  return new Promise((resolve) => {
    const socket = createSocket(server.includes(':') ? 'udp6' : 'udp4');
    let done = false;
    const end = (reply?: Buffer): void => {
      if (done) return;
      done = true;
      clearTimeout(timer);
      socket.close();
      resolve(reply);
    };
    const timer = setTimeout(end, timeout);
    timer.unref();
    socket.on('error', () => end()); // no route, or a closed port
    socket.on('message', (reply) => {
      if (isAnswer(reply)) end(reply);
    });
    // Node.js passes an error to this callback, although its types do not say so.
    const ask = (): void =>
      socket.connect(PORT, server, (error?: Error) => {
        if (error !== undefined) end();
        else if (!done) socket.send(query);
      });
    if (from === undefined) ask();
    else socket.bind(0, from, () => done || ask());
  });
}

function askByTcp(
  server: string,
  from: string | undefined,
  query: Buffer,
  isAnswer: IsAnswer,
): Promise<Buffer | undefined> {
  return new Promise((resolve) => {
    const socket = connect({ host: server, port: PORT, ...(from !== undefined && { localAddress: from }) });
    const end = (reply?: Buffer): void => {
      socket.destroy();
      resolve(reply);
    };
    let read = Buffer.alloc(0);
    socket.setTimeout(TCP_TIMEOUT, end);
    socket.on('error', () => end());
    socket.on('close', () => end());
    socket.on('connect', () => socket.write(framed(query)));
    socket.on('data', (chunk) => {
      read = Buffer.concat([read, chunk]);
      const reply = unframed(read);
      if (reply !== undefined) end(isAnswer(reply) ? reply : undefined);
    });
  });
}

/** Puts the length in front of a message, for TCP: RFC 1035 §4.2.2. */
export function framed(message: Buffer): Buffer {
  const length = Buffer.alloc(2);
  length.writeUInt16BE(message.length);
  return Buffer.concat([length, message]);
}

/** The first whole message of a TCP stream; undefined until it has arrived. */
export function unframed(stream: Buffer): Buffer | undefined {
  const end = stream.length < 2 ? Infinity : 2 + stream.readUInt16BE(0);
  return stream.length < end ? undefined : stream.subarray(2, end);
}

import { randomInt } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { connect } from 'node:net';
import { answers, isTruncated, type Query, RCODE_RETRY, rcodeOf, withId } from './dns-message.js';

const PORT = 53;
/** How long each name server is given, in each round over all of them; milliseconds. Programs give up after 5 s or so. */
const ROUNDS: readonly number[] = [1500, 3000];
const TCP_TIMEOUT = 4000;

/** Different questions that are asked at once. What a machine asks in one go is far below. */
const MAX_ASKED = 256;
/** Who waits for them. */
const MAX_WAITING = 1024;

/** Whom to ask. */
export interface Servers {
  /** By address, as they are now, the one to ask first. */
  readonly addresses: readonly string[];
  /**
   * Only while the address is one of this machine: the question is sent from that same address, which the kernel
   * refuses else.
   */
  readonly own?: true;
}

/**
 * Asks other name servers: those that the machine had before, and those of other networks on it.
 *
 * Each question has a socket of its own, connected, with a port that the kernel chose, and a random id: what comes
 * from elsewhere or does not repeat the question is not seen (RFC 5452). The same question asked again meanwhile
 * waits for the same answer; so another program on this machine that hands our questions back to us ends in silence,
 * not in a storm.
 */
export class DnsForwarder {
  readonly #servers: () => Servers;
  readonly #asked = new Map<string, Promise<Buffer | undefined>>();
  #waiting = 0;

  /** @param servers whom to ask where a question does not say it */
  constructor(servers: () => Servers) {
    this.#servers = servers;
  }

  /** Whether there is anybody to ask. */
  get isUsed(): boolean {
    return this.#servers().addresses.length > 0;
  }

  /**
   * @param whole whether a truncated answer is of no use: the program has asked by TCP
   * @returns the answer with the query's id; undefined when nobody answered, `busy` when too much is being asked
   */
  async ask(
    query: Query,
    message: Buffer,
    whole: boolean,
    servers: () => Servers = this.#servers,
  ): Promise<Buffer | undefined | 'busy'> {
    const whom = servers().own ? servers().addresses.join() : '';
    const key = `${whole}${whom}/${message.toString('latin1', 2)}`;
    let asked = this.#asked.get(key);
    if (this.#waiting >= MAX_WAITING || (asked === undefined && this.#asked.size >= MAX_ASKED)) return 'busy';
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
      if (refusal !== undefined) break; // whoever can answer has done so
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
    socket.on('error', () => end()); // nobody there, no route, a port that is closed
    socket.on('message', (reply) => {
      if (isAnswer(reply)) end(reply);
    });
    // Node hands an error to this callback, which its types do not know.
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
      if (read.length < 2 || read.length < 2 + read.readUInt16BE(0)) return;
      const reply = read.subarray(2, 2 + read.readUInt16BE(0));
      end(isAnswer(reply) ? reply : undefined);
    });
  });
}

/** A message as it travels over TCP, with its length in front: RFC 1035 §4.2.2. */
export function framed(message: Buffer): Buffer {
  const length = Buffer.alloc(2);
  length.writeUInt16BE(message.length);
  return Buffer.concat([length, message]);
}

import { createSocket, type RemoteInfo, type Socket as UdpSocket } from 'node:dgram';
import { once } from 'node:events';
import { createServer, type Server, type Socket } from 'node:net';
import { LametunError } from '../../errors.js';
import { formatAddress, parseAddress } from '../../ip/address.js';
import { DnsForwarder, framed } from './dns-forwarder.js';
import {
  isInternet,
  type Query,
  rcodeOf,
  readQuery,
  withRecursion,
  writeAnswer,
  writeFailure,
} from './dns-message.js';
import { type NameAnswer, RCODE } from './names.js';

const PORT = 53;
const TCP_CONNECTIONS = 64;
const TCP_IDLE = 10_000; // milliseconds, RFC 7766 §6.2.3
/** Queries of one TCP connection that wait for their answers. */
const TCP_PIPELINE = 32;

export interface ResolverOptions {
  /** Where to listen: this node's own inner addresses, as text. One that cannot be had is left out, if one can. */
  readonly addresses: readonly string[];
  /** What the network's names are: `Names.lookup`. Undefined for all others. */
  readonly lookup: (name: string, type: number) => NameAnswer | undefined;
  /** The name servers for all other names, by address, as they are when asked. Without any, those are refused. */
  readonly upstreams?: () => readonly string[];
  /** Where on this machine a name is answered that is another network's: by address. */
  readonly siblings?: (name: string) => readonly string[];
}

/** What was not answered, and why. */
export interface ResolverDrops {
  /** Not a query with one question. */
  malformed: number;
  /** From another machine. */
  foreign: number;
  /** Too many at once. */
  busy: number;
}

/**
 * The name server of a node, for the programs on its own machine: answers the names of its network, asks for those of
 * another network on this machine the node of that, and passes all others on to the name servers that the machine had
 * before.
 *
 * Only what comes from one of its own addresses is answered, which is what the kernel gives queries to them from
 * this machine; other members cannot bear it, since WireGuard drops what has not their own address. So it is no
 * open resolver, and nobody learns through it what is asked here.
 */
export class Resolver {
  /** Where it listens. */
  readonly addresses: readonly string[];
  readonly drops: ResolverDrops = { malformed: 0, foreign: 0, busy: 0 };
  readonly #lookup: ResolverOptions['lookup'];
  readonly #siblings: (name: string) => readonly string[];
  readonly #forwarder: DnsForwarder;
  /** One of its own: however much is asked elsewhere, names of networks are answered. */
  readonly #siblingForwarder = new DnsForwarder(() => ({ addresses: [] }));
  readonly #udp: readonly UdpSocket[];
  readonly #tcp: readonly Server[];
  readonly #connections = new Set<Socket>();

  private constructor(
    addresses: readonly string[],
    udp: readonly UdpSocket[],
    tcp: readonly Server[],
    { lookup, upstreams = () => [], siblings = () => [] }: ResolverOptions,
  ) {
    this.addresses = addresses;
    this.#udp = udp;
    this.#tcp = tcp;
    this.#lookup = lookup;
    this.#siblings = siblings;
    // Never ourselves, whoever wrote us down.
    this.#forwarder = new DnsForwarder(() => ({
      addresses: upstreams().filter((server) => !this.#isOwn(server)),
    }));
    for (const socket of udp) this.#serveUdp(socket);
    for (const server of tcp) this.#serveTcp(server);
  }

  /**
   * @throws LametunError `linux` when it can listen on none of the addresses, mostly because another name server
   *   listens on all of them
   */
  static async start(options: ResolverOptions): Promise<Resolver> {
    const udp: UdpSocket[] = [];
    const tcp: Server[] = [];
    const addresses: string[] = [];
    let problem = 'no address';
    for (const address of options.addresses) {
      let socket: UdpSocket | undefined;
      try {
        socket = await bindUdp(address);
        tcp.push(await listenTcp(address));
        udp.push(socket);
        addresses.push(address);
      } catch (error) {
        socket?.close();
        problem = whyNot(address, error);
      }
    }
    if (addresses.length === 0) throw new LametunError('linux', `names cannot be answered: ${problem}`);
    return new Resolver(addresses, udp, tcp, options);
  }

  close(): void {
    for (const socket of this.#udp) socket.close();
    for (const server of this.#tcp) server.close();
    for (const connection of this.#connections) connection.destroy();
  }

  #isOwn(address: string | undefined): boolean {
    const bytes = parseAddress(address ?? '');
    return bytes !== undefined && this.addresses.includes(formatAddress(bytes));
  }

  #serveUdp(socket: UdpSocket): void {
    socket.on('error', () => {}); // an answer that could not be sent
    socket.on('message', (message: Buffer, from: RemoteInfo) => {
      if (!this.#isOwn(from.address)) {
        this.drops.foreign++;
        return;
      }
      void this.#answer(message, false).then((reply) => {
        if (reply !== undefined) sendQuietly(socket, reply, from);
      });
    });
  }

  #serveTcp(server: Server): void {
    server.maxConnections = TCP_CONNECTIONS;
    server.on('error', () => {});
    server.on('connection', (connection) => {
      connection.on('error', () => {}); // it is closed after that
      if (!this.#isOwn(connection.remoteAddress)) {
        this.drops.foreign++;
        connection.destroy();
        return;
      }
      this.#connections.add(connection);
      connection.on('close', () => this.#connections.delete(connection));
      connection.setTimeout(TCP_IDLE, () => connection.destroy());
      this.#serveConnection(connection);
    });
  }

  #serveConnection(connection: Socket): void {
    let read = Buffer.alloc(0);
    let pending = 0;
    connection.on('data', (chunk) => {
      read = Buffer.concat([read, chunk]);
      while (read.length >= 2 && read.length >= 2 + read.readUInt16BE(0)) {
        const message = read.subarray(2, 2 + read.readUInt16BE(0));
        read = read.subarray(2 + message.length);
        if (++pending > TCP_PIPELINE) {
          this.drops.busy++;
          connection.destroy();
          return;
        }
        void this.#answer(message, true).then((reply) => {
          pending--;
          if (reply === undefined) connection.destroy();
          else if (connection.writable) connection.write(framed(reply));
        });
      }
    });
  }

  async #answer(message: Buffer, whole: boolean): Promise<Buffer | undefined> {
    const query = readQuery(message);
    if (query === undefined) {
      this.drops.malformed++;
      return undefined;
    }
    const own = isInternet(query) ? this.#lookup(query.name, query.type) : undefined;
    if (own?.rcode === RCODE.noError) return writeAnswer(query, message, own);
    // Networks can have the same name: what is none of ours may be the other's.
    const other = isInternet(query) ? await this.#askSiblings(query, message, whole) : undefined;
    if (own === undefined) return other ?? this.#forward(query, message, whole);
    // Where one could not be asked nobody knows that there is no such name.
    const isBetter = other !== undefined && BETTER.has(rcodeOf(other));
    return isBetter ? other : writeAnswer(query, message, own);
  }

  /**
   * Without a wish for recursion, and only where there was one: so a question goes from one node to another once,
   * whatever they believe of each other.
   *
   * @returns the answer of who knows the name, else SERVFAIL when one gave none; undefined when the name is no sibling's
   */
  async #askSiblings(query: Query, message: Buffer, whole: boolean): Promise<Buffer | undefined> {
    const siblings = this.#siblings(query.name);
    if (siblings.length > 0 && !query.recursionDesired) return writeFailure(message, query, RCODE.refused);
    let answer: Buffer | undefined;
    for (const address of siblings) {
      const servers = { addresses: [address], own: true } as const;
      const asked = withRecursion(message, false);
      const reply = await this.#siblingForwarder.ask(query, asked, whole, () => servers);
      const failed = reply === undefined || reply === 'busy';
      const found = failed
        ? writeFailure(message, query, RCODE.serverFailure)
        : withRecursion(reply, query.recursionDesired);
      if (rcodeOf(found) === RCODE.noError) return found;
      if (failed || answer === undefined) answer = found;
    }
    return answer;
  }

  async #forward(query: Query, message: Buffer, whole: boolean): Promise<Buffer | undefined> {
    if (!this.#forwarder.isUsed) return writeFailure(message, query, RCODE.refused);
    const reply = await this.#forwarder.ask(query, message, whole);
    if (reply !== 'busy') return reply ?? writeFailure(message, query, RCODE.serverFailure);
    this.drops.busy++;
    return undefined;
  }
}

/** What another node may say in place of our own word that there is no such name. */
const BETTER: ReadonlySet<number> = new Set([RCODE.noError, RCODE.serverFailure]);

function sendQuietly(socket: UdpSocket, reply: Buffer, to: RemoteInfo): void {
  try {
    socket.send(reply, to.port, to.address, () => {});
  } catch {} // closed meanwhile
}

async function bindUdp(address: string): Promise<UdpSocket> {
  const socket = createSocket(address.includes(':') ? { type: 'udp6', ipv6Only: true } : { type: 'udp4' });
  const listening = once(socket, 'listening');
  socket.bind(PORT, address);
  try {
    await listening;
    return socket;
  } catch (error) {
    socket.close();
    throw error;
  }
}

async function listenTcp(address: string): Promise<Server> {
  const server = createServer();
  const listening = once(server, 'listening');
  server.listen({ port: PORT, host: address, ipv6Only: true });
  await listening;
  return server;
}

function whyNot(address: string, error: unknown): string {
  const code = (error as NodeJS.ErrnoException).code;
  const why: Readonly<Record<string, string>> = {
    EADDRINUSE: `another name server on this machine has it: bind that to certain addresses (\`ss -lnp sport = :${PORT}\` names it)`,
    EACCES: 'needs root (try sudo)',
    EADDRNOTAVAIL: 'this machine does not have that address',
  };
  return `port ${PORT} of ${address}: ${why[code ?? ''] ?? (error as Error).message}`;
}

import { createSocket, type RemoteInfo, type Socket as UdpSocket } from 'node:dgram';
import { once } from 'node:events';
import { createServer, type Server, type Socket } from 'node:net';
import { LametunError } from '../../errors.js';
import { formatAddress, parseAddress } from '../../ip/address.js';
import { DnsForwarder, framed, type Servers, unframed } from './dns-forwarder.js';
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
/** The most queries of one TCP connection that wait for answers. */
const TCP_PIPELINE = 32;

export interface ResolverOptions {
  /** This node's member addresses, to listen on. One that fails is left out if another works. */
  readonly addresses: readonly string[];
  /** Looks up names of the network: `Names.lookup`. */
  readonly lookup: (name: string, type: number) => NameAnswer | undefined;
  /** The present addresses of the name servers for all other names. Without any, such queries are refused. */
  readonly upstreams?: () => readonly string[];
  /** The addresses on this machine that answer a name of another network. */
  readonly siblings?: (name: string) => readonly string[];
}

/** How many queries were dropped, by reason. */
export interface ResolverDrops {
  /** Not a query with one question. */
  malformed: number;
  /** From another machine. */
  foreign: number;
  /** Too many at once. */
  busy: number;
}

/**
 * The name server of a node, for the programs on its own machine. It answers the names of its network. Names of another
 * network on this machine are answered by that network's node, and all others by the name servers that the machine had
 * before.
 *
 * It answers only queries from its own addresses, which the kernel uses for queries to them from this machine. Other
 * members cannot use these addresses, because WireGuard drops packets that do not come from the member's own. So this is
 * not an open resolver, and others cannot learn through it which names this machine asks for.
 */
export class Resolver {
  /** The addresses that it listens on. */
  readonly addresses: readonly string[];
  readonly drops: ResolverDrops = { malformed: 0, foreign: 0, busy: 0 };
  readonly #lookup: ResolverOptions['lookup'];
  readonly #siblings: (name: string) => readonly string[];
  readonly #upstreams: () => Servers;
  readonly #forwarder = new DnsForwarder();
  /** Separate, so that many other questions do not keep names of networks from being answered. */
  readonly #siblingForwarder = new DnsForwarder();
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
    // Without this resolver itself, even if resolv.conf lists it.
    this.#upstreams = () => ({ addresses: upstreams().filter((server) => !this.#isOwn(server)) });
    for (const socket of udp) this.#serveUdp(socket);
    for (const server of tcp) this.#serveTcp(server);
  }

  /**
   * @throws LametunError `linux` when it cannot listen on any of the addresses, usually because another name server does
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
    if (addresses.length === 0) throw new LametunError('linux', `cannot answer names: ${problem}`);
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
    socket.on('error', () => {}); // an answer could not be sent
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
      connection.on('error', () => {}); // `close` follows
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
      for (let message = unframed(read); message !== undefined; message = unframed(read)) {
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
    // Networks can have the same name: a name that is missing here may be in the other.
    const other = isInternet(query) ? await this.#askSiblings(query, message, whole) : undefined;
    if (own === undefined) return other ?? this.#forward(query, message, whole);
    // If a sibling did not answer, it is not certain that the name does not exist.
    const isBetter = other !== undefined && BETTER.has(rcodeOf(other));
    return isBetter ? other : writeAnswer(query, message, own);
  }

  /**
   * Asks without recursion, and only if the query has recursion desired. So a question goes from one node to another at
   * most once.
   *
   * @returns the answer of a sibling that knows the name, else SERVFAIL if one did not answer; undefined if the name is
   *   not in a sibling's network
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
    if (this.#upstreams().addresses.length === 0) return writeFailure(message, query, RCODE.refused);
    const reply = await this.#forwarder.ask(query, message, whole, this.#upstreams);
    if (reply !== 'busy') return reply ?? writeFailure(message, query, RCODE.serverFailure);
    this.drops.busy++;
    return undefined;
  }
}

/** Codes of a sibling that replace this node's answer that a name does not exist. */
const BETTER: ReadonlySet<number> = new Set([RCODE.noError, RCODE.serverFailure]);

function sendQuietly(socket: UdpSocket, reply: Buffer, to: RemoteInfo): void {
  try {
    socket.send(reply, to.port, to.address, () => {});
  } catch {} // it was closed meanwhile
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
    EADDRINUSE: `another name server on this machine uses it: make that one listen only on its own addresses (\`ss -lnp sport = :${PORT}\` shows it)`,
    EACCES: 'needs root (try sudo)',
    EADDRNOTAVAIL: 'this machine does not have that address',
  };
  return `port ${PORT} of ${address}: ${why[code ?? ''] ?? (error as Error).message}`;
}

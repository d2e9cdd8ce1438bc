import { formatAddress } from '../ip/address.js';
import { type Endpoint, formatEndpoint } from '../ip/endpoint.js';
import { protocolName, summarize } from '../ip/packet.js';
import { describeErrno, ERRNO } from '../linux/ffi/errno.js';
import { readSocketAddress } from '../linux/net/socket-address.js';
import type { Rate } from '../token-bucket.js';
import type { LearnedEvent, PacketEvent, StatsEvent } from './events.js';
import { KIND, type LogRecord } from './packet-log.js';
import { COUNT, DROP, type DropReason, dropCounter } from './shared.js';

/** Makes events of the worker's records in shared memory. */

export function recordEvent(record: LogRecord): LearnedEvent | PacketEvent | undefined {
  const packet = summarize(record.head);
  if (packet === undefined) return undefined;
  const outer = formatEndpoint(readSocketAddress(record.outer, 0));
  const source = formatAddress(packet.source);
  if (record.kind === KIND.learned) return { event: 'learned', inner: source, outer };
  return {
    event: 'packet',
    direction: record.kind === KIND.out ? 'out' : 'in',
    length: record.length,
    outer,
    source,
    destination: formatAddress(packet.destination),
    protocol: protocolName(packet.protocol),
    ...(packet.ports && { sourcePort: packet.ports.source, destinationPort: packet.ports.destination }),
  };
}

export function statsEvent(counters: Float64Array, servers: readonly Endpoint[]): StatsEvent {
  const drops: Partial<Record<DropReason, number>> = {};
  for (const [i, reason] of DROP.entries()) {
    const count = counters[COUNT.drops + i]!;
    if (count > 0) drops[reason] = count;
  }
  const server = servers[counters[COUNT.server]!];
  return {
    event: 'stats',
    packetsOut: counters[COUNT.packetsOut]!,
    bytesOut: counters[COUNT.bytesOut]!,
    packetsIn: counters[COUNT.packetsIn]!,
    bytesIn: counters[COUNT.bytesIn]!,
    clients: counters[COUNT.clients]!,
    ...(server && { server: formatEndpoint(server) }),
    drops,
  };
}

/** After this long without an error, it is reported again, milliseconds. */
const NEWS_AGAIN = 10_000;

/**
 * Makes one warning of many failures. An error is reported the first time, and again only if packets have come
 * in since and the error had been absent for a while.
 */
export class Warnings {
  readonly #counters: Float64Array;
  readonly #told = new Map<number, { count: number; seenAt: number; packetsIn: number }>();

  #loopTold = false;

  constructor(counters: Float64Array) {
    this.#counters = counters;
  }

  /**
   * @param whom the other side, for the message
   * @param now milliseconds
   * @returns the warnings to report now
   */
  look(whom: string, now: number): string[] {
    const messages: string[] = [];
    if (!this.#loopTold && this.#counters[dropCounter('loop')]! > 0) {
      this.#loopTold = true;
      messages.push(
        `the routes lead the tunnel's own datagrams back into it: use a narrower -route, or add one to ${whom}`,
      );
    }
    const packetsIn = this.#counters[COUNT.packetsIn]!;
    for (let errno = 1; COUNT.errors + errno < this.#counters.length; errno++) {
      const count = this.#counters[COUNT.errors + errno]!;
      const told = this.#told.get(errno);
      if (count === (told?.count ?? 0)) continue;
      const news = told === undefined || (packetsIn > told.packetsIn && now - told.seenAt > NEWS_AGAIN);
      if (news) messages.push(explain(errno, whom));
      this.#told.set(errno, { count, seenAt: now, packetsIn: news ? packetsIn : told.packetsIn });
    }
    return messages;
  }
}

function explain(errno: number, whom: string): string {
  const words = describeErrno(errno);
  switch (errno) {
    case ERRNO.ECONNREFUSED:
      return `no server answers at ${whom} yet (${words}): trying again`;
    case ERRNO.EMSGSIZE:
      return `packets were too large for the path to ${whom} (${words}): set a smaller MTU for the device`;
    case ERRNO.EPERM:
      return `this machine's firewall forbids sending to ${whom} (${words}): trying again`;
    default:
      return `cannot send to ${whom} (${words}): trying again`;
  }
}

/**
 * Limits how many learned addresses are reported. Anyone can make the listener learn one with each datagram, by sending
 * from two ports in turn. That must not fill a disk with lines.
 */
export const LEARNED: Rate = { rate: 1, burst: 100 };

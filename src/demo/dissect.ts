import { formatAddress } from '../ip/address.js';
import { IPV4, IPV6, ipVersion, PROTOCOL, protocolName } from '../ip/packet.js';

/** One header of a packet, or the data that the headers carry. */
export interface Layer {
  readonly name:
    | 'IPv4'
    | 'IPv6'
    | 'UDP'
    | 'TCP'
    | 'ICMP'
    | 'packet information'
    | 'HTTP'
    | 'data'
    | 'fragment';
  /** Sender and receiver, or what else matters most. */
  readonly title: string;
  /** Other fields, each in a few words. */
  readonly fields: readonly string[];
  /** Where the layer's own bytes begin and end in the packet. */
  readonly start: number;
  readonly end: number;
}

/** The UDP port of the plain tunnel. */
const TUNNEL_PORT = 1234;
const ETHERTYPE_NAME: Readonly<Record<number, string>> = { 2048: 'IPv4', 34525: 'IPv6' };

/**
 * Takes a captured IP packet apart, from the outermost header in. It never throws: what it does not understand is
 * `data`.
 *
 * @param packet from its IP header on
 */
export function dissect(packet: Uint8Array): Layer[] {
  const layers: Layer[] = [];
  ipLayer(new DataView(packet.buffer, packet.byteOffset, packet.length), 0, layers);
  return layers;
}

function ipLayer(view: DataView, start: number, layers: Layer[]): void {
  const version = start < view.byteLength ? ipVersion(view, start) : 0;
  if (version === 4 && start + IPV4.minLength <= view.byteLength) ipv4Layer(view, start, layers);
  else if (version === 6 && start + IPV6.headerLength <= view.byteLength) ipv6Layer(view, start, layers);
  else dataLayer(view, start, layers);
}

function ipv4Layer(view: DataView, start: number, layers: Layer[]): void {
  const end = start + (view.getUint8(start) & 0x0f) * 4;
  const protocol = view.getUint8(start + IPV4.protocol);
  const fragment = view.getUint16(start + IPV4.fragment);
  const offset = (fragment & 0x1fff) * 8;
  const more = (fragment & 0x2000) !== 0;
  const fields = [
    `length ${view.getUint16(start + IPV4.totalLength)}`,
    `TTL ${view.getUint8(start + IPV4.timeToLive)}`,
    `${protocolName(protocol)} (${protocol})`,
    `checksum ${verdict(checksum(view, start, end) === 0)}`,
  ];
  if ((fragment & 0x4000) !== 0) fields.push("don't fragment");
  if (more || offset > 0) fields.push(`fragment at ${offset}, ${more ? 'more follow' : 'the last'}`);
  layers.push({ name: 'IPv4', title: addresses(view, start + IPV4.source, 4), fields, start, end });
  if (offset > 0) dataLayer(view, end, layers, 'fragment');
  else {
    const whole = !more && start + view.getUint16(start + IPV4.totalLength) <= view.byteLength;
    const pseudo = sum(view, start + IPV4.source, start + IPV4.source + 8);
    transportLayer(view, end, protocol, whole ? pseudo : undefined, layers);
  }
}

function ipv6Layer(view: DataView, start: number, layers: Layer[]): void {
  const end = start + IPV6.headerLength;
  const protocol = view.getUint8(start + IPV6.nextHeader);
  layers.push({
    name: 'IPv6',
    title: addresses(view, start + IPV6.source, 16),
    fields: [
      `payload ${view.getUint16(start + IPV6.payloadLength)}`,
      `hop limit ${view.getUint8(start + IPV6.hopLimit)}`,
      `${protocolName(protocol)} (${protocol})`,
    ],
    start,
    end,
  });
  transportLayer(view, end, protocol, sum(view, start + IPV6.source, start + IPV6.source + 32), layers);
}

/** @param pseudo the sum of the addresses for the checksum, undefined when the packet is not whole */
function transportLayer(
  view: DataView,
  start: number,
  protocol: number,
  pseudo: number | undefined,
  layers: Layer[],
): void {
  const length = view.byteLength - start;
  const good = (extra: number): boolean =>
    fold((pseudo ?? 0) + extra + sum(view, start, view.byteLength)) === 0xffff;
  const words = (extra: number): string[] =>
    pseudo === undefined ? [] : [`checksum ${verdict(good(extra))}`];
  if (protocol === PROTOCOL.udp && length >= 8) {
    const [from, to] = [view.getUint16(start), view.getUint16(start + 2)];
    const claimed = view.getUint16(start + 4);
    const fields = [
      `length ${claimed}`,
      ...(view.getUint16(start + 6) === 0 ? ['no checksum'] : words(17 + length)),
    ];
    layers.push({ name: 'UDP', title: `port ${from} → port ${to}`, fields, start, end: start + 8 });
    if (from === TUNNEL_PORT || to === TUNNEL_PORT) informationLayer(view, start + 8, layers);
    else dataLayer(view, start + 8, layers);
  } else if (protocol === PROTOCOL.tcp && length >= 20) {
    const end = Math.min(start + (view.getUint8(start + 12) >> 4) * 4, view.byteLength);
    const fields = [tcpFlags(view.getUint8(start + 13)), ...words(6 + length)];
    const title = `port ${view.getUint16(start)} → port ${view.getUint16(start + 2)}`;
    layers.push({ name: 'TCP', title, fields, start, end });
    dataLayer(view, end, layers);
  } else if ((protocol === PROTOCOL.icmp || protocol === PROTOCOL.icmpv6) && length >= 8) {
    const icmp4 = protocol === PROTOCOL.icmp;
    const type = view.getUint8(start);
    const echo = icmp4 ? type === 8 || type === 0 : type === 128 || type === 129;
    const name = ICMP_NAME[`${icmp4 ? 4 : 6}/${type}`] ?? `type ${type}`;
    const fields = echo ? [`id ${view.getUint16(start + 4)}`, `sequence ${view.getUint16(start + 6)}`] : [];
    const ok = icmp4 ? checksum(view, start, view.byteLength) === 0 : good(58 + length);
    if (pseudo !== undefined) fields.push(`checksum ${verdict(ok)}`);
    layers.push({ name: 'ICMP', title: name, fields, start, end: start + 8 });
    dataLayer(view, start + 8, layers);
  } else dataLayer(view, start, layers);
}

const ICMP_NAME: Readonly<Record<string, string>> = {
  '4/0': 'echo reply',
  '4/8': 'echo request',
  '4/3': 'destination unreachable',
  '6/128': 'echo request',
  '6/129': 'echo reply',
};

/** struct tun_pi, linux/if_tun.h: flags u16, protocol u16 big-endian. */
function informationLayer(view: DataView, start: number, layers: Layer[]): void {
  const protocol = start + 4 <= view.byteLength ? view.getUint16(start + 2) : 0;
  const name = ETHERTYPE_NAME[protocol];
  if (name === undefined) {
    dataLayer(view, start, layers);
    return;
  }
  layers.push({
    name: 'packet information',
    title: `what follows is ${name}`,
    fields: [],
    start,
    end: start + 4,
  });
  ipLayer(view, start + 4, layers);
}

function dataLayer(view: DataView, start: number, layers: Layer[], name: 'data' | 'fragment' = 'data'): void {
  const end = view.byteLength;
  if (start >= end) return;
  const text = Buffer.from(view.buffer, view.byteOffset + start, end - start).toString('latin1');
  const http = /^(?:[A-Z]{3,7} \S+ HTTP\/1\.\d|HTTP\/1\.\d \d{3}[^\r\n]*)/.exec(text);
  const bytes = `${end - start} byte${end - start === 1 ? '' : 's'}`;
  if (http !== null) layers.push({ name: 'HTTP', title: http[0], fields: [], start, end });
  else if (name === 'fragment') {
    layers.push({ name, title: `${bytes} of what the first fragment began`, fields: [], start, end });
  } else layers.push({ name, title: bytes, fields: [], start, end });
}

function addresses(view: DataView, start: number, length: number): string {
  const bytes = new Uint8Array(view.buffer, view.byteOffset + start, 2 * length);
  return `${formatAddress(bytes.slice(0, length))} → ${formatAddress(bytes.slice(length))}`;
}

const verdict = (good: boolean): string => (good ? 'ok' : 'wrong');

/** RFC 9293 §3.1. */
const FLAGS = ['FIN', 'SYN', 'RST', 'PSH', 'ACK', 'URG', 'ECE', 'CWR'];
const tcpFlags = (bits: number): string =>
  `flags ${FLAGS.filter((_, i) => (bits >> i) & 1).join(' ') || 'none'}`;

/** The Internet checksum, RFC 1071: 0 over a whole header means that it is correct. */
const checksum = (view: DataView, start: number, end: number): number =>
  ~fold(sum(view, start, end)) & 0xffff;

function sum(view: DataView, start: number, end: number): number {
  let total = 0;
  for (let i = start; i + 1 < end; i += 2) total += view.getUint16(i);
  return (end - start) % 2 === 1 ? total + view.getUint8(end - 1) * 256 : total;
}

function fold(total: number): number {
  let rest = total;
  while (rest > 0xffff) rest = (rest & 0xffff) + Math.floor(rest / 0x10000);
  return rest;
}

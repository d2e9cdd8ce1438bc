import { formatAddress } from '../ip/address.js';
import { fold, pseudoHeaderSum, sumReference } from '../ip/checksum.js';
import { IPV4, IPV6, ipVersion, PROTOCOL, protocolName, TCP_FLAG } from '../ip/packet.js';

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
    checksumText(sum(view, start, end)),
  ];
  if ((fragment & 0x4000) !== 0) fields.push("don't fragment");
  if (more || offset > 0) fields.push(`fragment at ${offset}, ${more ? 'more follow' : 'the last'}`);
  layers.push({ name: 'IPv4', title: addresses(view, start + IPV4.source, 4), fields, start, end });
  if (offset > 0) dataLayer(view, end, layers, 'fragment');
  else {
    const isWhole = !more && start + view.getUint16(start + IPV4.totalLength) <= view.byteLength;
    transportLayer(view, end, protocol, isWhole ? start : undefined, layers);
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
  transportLayer(view, end, protocol, start, layers);
}

/** @param packet where the IP header begins; undefined if the packet is not whole, and its checksum not known */
function transportLayer(
  view: DataView,
  start: number,
  protocol: number,
  packet: number | undefined,
  layers: Layer[],
): void {
  const length = view.byteLength - start;
  const checksum = (): string[] => {
    if (packet === undefined) return [];
    const pseudo = protocol === PROTOCOL.icmp ? 0 : pseudoHeaderSum(view, packet, protocol, length);
    return [checksumText(fold(pseudo + sum(view, start, view.byteLength)))];
  };
  if (protocol === PROTOCOL.udp && length >= 8) {
    const [from, to] = [view.getUint16(start), view.getUint16(start + 2)];
    const claimed = view.getUint16(start + 4);
    const fields = [`length ${claimed}`, ...(view.getUint16(start + 6) === 0 ? ['no checksum'] : checksum())];
    layers.push({ name: 'UDP', title: `port ${from} → port ${to}`, fields, start, end: start + 8 });
    if (from === TUNNEL_PORT || to === TUNNEL_PORT) informationLayer(view, start + 8, layers);
    else dataLayer(view, start + 8, layers);
  } else if (protocol === PROTOCOL.tcp && length >= 20) {
    const end = Math.min(start + (view.getUint8(start + 12) >> 4) * 4, view.byteLength);
    const fields = [tcpFlags(view.getUint8(start + 13)), ...checksum()];
    const title = `port ${view.getUint16(start)} → port ${view.getUint16(start + 2)}`;
    layers.push({ name: 'TCP', title, fields, start, end });
    dataLayer(view, end, layers);
  } else if ((protocol === PROTOCOL.icmp || protocol === PROTOCOL.icmpv6) && length >= 8) {
    const icmp4 = protocol === PROTOCOL.icmp;
    const type = view.getUint8(start);
    const echo = icmp4 ? type === 8 || type === 0 : type === 128 || type === 129;
    const name = ICMP_NAME[`${icmp4 ? 4 : 6}/${type}`] ?? `type ${type}`;
    const fields = echo ? [`id ${view.getUint16(start + 4)}`, `sequence ${view.getUint16(start + 6)}`] : [];
    layers.push({ name: 'ICMP', title: name, fields: [...fields, ...checksum()], start, end: start + 8 });
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
  const title = `what follows is ${name}`;
  layers.push({ name: 'packet information', title, fields: [], start, end: start + 4 });
  ipLayer(view, start + 4, layers);
}

function dataLayer(view: DataView, start: number, layers: Layer[], name: 'data' | 'fragment' = 'data'): void {
  const end = view.byteLength;
  if (start >= end) return;
  const text = Buffer.from(view.buffer, view.byteOffset + start, end - start).toString('latin1');
  const http = /^(?:[A-Z]{3,7} \S+ HTTP\/1\.\d|HTTP\/1\.\d \d{3}[^\r\n]*)/.exec(text);
  const bytes = `${end - start} byte${end - start === 1 ? '' : 's'}`;
  const title = name === 'fragment' ? `${bytes} of what the first fragment began` : bytes;
  layers.push({
    ...(http === null ? { name, title } : { name: 'HTTP', title: http[0] }),
    fields: [],
    start,
    end,
  });
}

function addresses(view: DataView, start: number, length: number): string {
  const bytes = new Uint8Array(view.buffer, view.byteOffset + start, 2 * length);
  return `${formatAddress(bytes.slice(0, length))} → ${formatAddress(bytes.slice(length))}`;
}

/** RFC 9293 §3.1. */
function tcpFlags(bits: number): string {
  const names = Object.entries(TCP_FLAG).flatMap(([name, bit]) =>
    (bits & bit) === 0 ? [] : name.toUpperCase(),
  );
  return `flags ${names.join(' ') || 'none'}`;
}

const sum = (view: DataView, start: number, end: number): number =>
  sumReference(new Uint8Array(view.buffer, view.byteOffset, view.byteLength), start, end - start);

/** @param sum over everything that the checksum covers, itself included */
const checksumText = (sum: number): string => `checksum ${sum === 0xffff ? 'ok' : 'wrong'}`;

import { writeSync } from 'node:fs';
import { type CapturedPacket, PacketSocket } from '../linux/net/packet-socket.js';
import type { Namespace } from '../linux/process/namespace.js';
import { enhancedPacket, interfaceDescription, LINK_TYPE, sectionHeader } from './pcapng.js';

const ETHERNET_HEADER = 14;
const ETHERTYPE_OFFSET = 12;
const ETHERTYPES_OF_IP = [0x0800, 0x86dd];

/** A place where packets are captured. */
export type Station = 'laptop-tun0' | 'home-lan' | 'internet' | 'gateway-tun0' | 'office-lan';

export interface Seen {
  readonly station: Station;
  /** The IP packet, without the link header. */
  readonly packet: Uint8Array;
  readonly outgoing: boolean;
}

interface Listening {
  readonly station: Station;
  readonly socket: PacketSocket;
}

/** Captures packets at the stations, and writes them to a file for Wireshark if there is one. */
export class Capture {
  readonly #listening: Listening[] = [];
  readonly #file: number | undefined;

  /** @param file a file descriptor to write pcapng to */
  constructor(file?: number) {
    this.#file = file;
    this.#write(sectionHeader('lametun demo'));
  }

  /** Starts capturing at a device. */
  watch(station: Station, namespace: Namespace, device: string): void {
    const socket = namespace.inside(() => PacketSocket.open(device));
    this.#listening.push({ station, socket });
    const linkType = socket.ethernet ? LINK_TYPE.ethernet : LINK_TYPE.raw;
    this.#write(interfaceDescription({ name: station, linkType }));
  }

  /** The IP packets captured since the last call, in order of time. */
  take(): Seen[] {
    const packets = this.#listening
      .flatMap(({ station, socket }, index) =>
        socket.drain().map((captured) => ({ station, index, captured, ethernet: socket.ethernet })),
      )
      .sort((a, b) => Number(a.captured.time - b.captured.time));
    for (const { index, captured } of packets) this.#write(enhancedPacket({ interface: index, ...captured }));
    return packets.flatMap(({ station, captured, ethernet }) => {
      const packet = ethernet ? withoutEthernet(captured) : captured.bytes;
      return packet === undefined ? [] : [{ station, packet, outgoing: captured.outgoing }];
    });
  }

  #write(block: Uint8Array): void {
    if (this.#file !== undefined) writeSync(this.#file, block);
  }
}

function withoutEthernet({ bytes }: CapturedPacket): Uint8Array | undefined {
  if (bytes.length < ETHERNET_HEADER) return undefined;
  const type = bytes[ETHERTYPE_OFFSET]! * 256 + bytes[ETHERTYPE_OFFSET + 1]!;
  if (!ETHERTYPES_OF_IP.includes(type)) return undefined;
  const packet = bytes.subarray(ETHERNET_HEADER);
  // Short frames are padded to 60 bytes; the IP header knows where the packet ends.
  const length = type === 0x0800 ? packet[2]! * 256 + packet[3]! : 40 + packet[4]! * 256 + packet[5]!;
  return packet.subarray(0, length);
}

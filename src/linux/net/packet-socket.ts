import { ERRNO, LinuxError } from '../ffi/errno.js';
import { call, errno, libc } from '../ffi/libc.js';
import { allocate, writeUint64 } from '../ffi/memory.js';
import type { Hints } from './netlink.js';
import { AF, SOCK } from './socket-address.js';
import { SOL_SOCKET, setReceiveBuffer, trySocketOption } from './socket-options.js';

/** asm-generic/socket.h, linux/socket.h. */
const SO_TIMESTAMPNS = 35;
const MSG_DONTWAIT = 0x40;

/** ETH_P_ALL in network order, linux/if_ether.h: every packet, in both directions. */
const ALL_PROTOCOLS = 0x0300;

/** struct sockaddr_ll, linux/if_packet.h: family u16, protocol be16, ifindex i32, hatype u16, pkttype u8. */
const SOCKADDR_LL = { family: 0, protocol: 2, index: 4, hardware: 8, type: 10, size: 20 } as const;
const PACKET_OUTGOING = 4;

/** ARPHRD_ETHER, linux/if_arp.h: packets begin with an Ethernet header. TUN devices have ARPHRD_NONE. */
const HARDWARE_ETHERNET = 1;

/** struct iovec, struct msghdr, struct cmsghdr of 64-bit Linux. */
const IOVEC = { base: 0, length: 8 } as const;
const MSGHDR = { name: 0, nameLength: 8, iov: 16, iovCount: 24, control: 32, controlLength: 40 } as const;
const CMSGHDR = { level: 8, type: 12, data: 16 } as const;
/** cmsghdr and struct timespec. */
const CONTROL_SIZE = 32;

/** The largest packet; and the layout of the memory for one, with everything that recvmsg(2) says about it. */
const PACKET_SIZE = 65_536;
const AT = { header: 0, vector: 56, name: 72, control: 96, packet: 128, size: 128 + PACKET_SIZE } as const;

/** Size of the receive buffer, bytes. */
const BUFFER = 4 << 20;

/** linux/sockios.h, linux/ethtool.h: the old calls, which need no netlink and work on every kernel. */
const SIOCETHTOOL = 0x8946;
const ETHTOOL_STXCSUM = 0x17;

export interface CapturedPacket {
  /** As on the wire, with the link header if the link has one. */
  readonly bytes: Uint8Array;
  /** The kernel's timestamp, nanoseconds since 1970. */
  readonly time: bigint;
  /** Whether the device sent the packet. Otherwise it received it. */
  readonly outgoing: boolean;
}

/**
 * Captures every packet that passes a network device, like tcpdump. The kernel keeps packets in the socket's
 * buffer, so a `drain()` now and then is enough.
 */
export class PacketSocket {
  /** Whether packets begin with an Ethernet header; otherwise with the IP header. */
  readonly ethernet: boolean;
  readonly #fd: number;
  readonly #memory = allocate(AT.size);

  private constructor(fd: number, ethernet: boolean) {
    this.#fd = fd;
    this.ethernet = ethernet;
    const { view, address } = this.#memory;
    writeUint64(view, AT.header + MSGHDR.name, address + AT.name);
    writeUint64(view, AT.header + MSGHDR.iov, address + AT.vector);
    writeUint64(view, AT.header + MSGHDR.iovCount, 1);
    writeUint64(view, AT.header + MSGHDR.control, address + AT.control);
    writeUint64(view, AT.vector + IOVEC.base, address + AT.packet);
    writeUint64(view, AT.vector + IOVEC.length, PACKET_SIZE);
  }

  /**
   * @param device the name of a device in the network namespace of the calling thread: see `Namespace.inside`
   * @throws LinuxError if there is no such device, or without CAP_NET_RAW
   */
  static open(device: string): PacketSocket {
    const index = libc.if_nametoindex(device);
    if (index === 0) throw new LinuxError(`capture on ${device}`, ERRNO.ENODEV);
    const hints = { [ERRNO.EPERM]: 'capturing needs root (try sudo) or the capability CAP_NET_RAW' };
    const fd = openPacketSocket(hints);
    try {
      setReceiveBuffer(fd, BUFFER);
      if (!trySocketOption(fd, SOL_SOCKET, SO_TIMESTAMPNS, 1)) call(-1, 'setsockopt SO_TIMESTAMPNS');
      const address = allocate(SOCKADDR_LL.size);
      address.view.setUint16(SOCKADDR_LL.family, AF.packet, true);
      address.view.setUint16(SOCKADDR_LL.protocol, ALL_PROTOCOLS, true);
      address.view.setInt32(SOCKADDR_LL.index, index, true);
      call(libc.bind(fd, address.address, SOCKADDR_LL.size), `bind AF_PACKET ${device}`);
      const length = allocate(4);
      length.view.setUint32(0, SOCKADDR_LL.size, true);
      call(libc.getsockname(fd, address.address, length.address), `getsockname AF_PACKET ${device}`);
      return new PacketSocket(fd, address.view.getUint16(SOCKADDR_LL.hardware, true) === HARDWARE_ETHERNET);
    } catch (error) {
      libc.close(fd);
      throw error;
    }
  }

  /** Takes the packets since the last call, oldest first. A removed device gives no more. */
  drain(): CapturedPacket[] {
    const captured: CapturedPacket[] = [];
    const { view, address } = this.#memory;
    for (;;) {
      // The kernel overwrites these with the lengths that it used.
      view.setUint32(AT.header + MSGHDR.nameLength, SOCKADDR_LL.size, true);
      writeUint64(view, AT.header + MSGHDR.controlLength, CONTROL_SIZE);
      const length = libc.recvmsg(this.#fd, address + AT.header, MSG_DONTWAIT);
      if (length >= 0) {
        captured.push(this.#take(length));
        continue;
      }
      // ENETDOWN comes once, when the device went down or was removed. Earlier packets are still to be read.
      const number = errno();
      if (number === ERRNO.EINTR || number === ERRNO.ENETDOWN) continue;
      if (number === ERRNO.EAGAIN) return captured;
      throw new LinuxError('recvmsg AF_PACKET', number);
    }
  }

  close(): void {
    libc.close(this.#fd);
  }

  #take(length: number): CapturedPacket {
    const { view, bytes } = this.#memory;
    const stamped =
      view.getInt32(AT.control + CMSGHDR.level, true) === SOL_SOCKET &&
      view.getInt32(AT.control + CMSGHDR.type, true) === SO_TIMESTAMPNS;
    const seconds = view.getBigInt64(AT.control + CMSGHDR.data, true);
    const nanoseconds = view.getBigInt64(AT.control + CMSGHDR.data + 8, true);
    return {
      bytes: Uint8Array.from(bytes.subarray(AT.packet, AT.packet + length)),
      time: stamped ? seconds * 1_000_000_000n + nanoseconds : BigInt(Date.now()) * 1_000_000n,
      outgoing: view.getUint8(AT.name + SOCKADDR_LL.type) === PACKET_OUTGOING,
    };
  }
}

const openPacketSocket = (hints?: Hints): number =>
  call(libc.socket(AF.packet, SOCK.raw | SOCK.nonblock | SOCK.cloexec, 0), 'socket AF_PACKET', hints);

/**
 * Makes the kernel compute the checksums of packets that a device sends, like `ethtool -K DEVICE tx off`.
 * Otherwise a capture on the sender's side shows unfinished checksums, which hardware would fill in and a virtual
 * cable never does.
 *
 * @param device in the network namespace of the calling thread
 */
export function computeChecksumsInKernel(device: string): void {
  // struct ifreq: name[16], pointer @16. struct ethtool_value: cmd u32, data u32.
  const request = allocate(40);
  const value = allocate(8);
  request.bytes.set(new TextEncoder().encode(device).subarray(0, 15));
  request.view.setBigUint64(16, BigInt(value.address), true);
  value.view.setUint32(0, ETHTOOL_STXCSUM, true);
  const fd = openPacketSocket();
  try {
    call(libc.ioctl(fd, SIOCETHTOOL, request.address), `ETHTOOL_STXCSUM ${device}`);
  } finally {
    libc.close(fd);
  }
}

import { ERRNO, LinuxError } from '../ffi/errno.js';
import { call, errno, libc } from '../ffi/libc.js';
import { allocate } from '../ffi/memory.js';
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

/** struct iovec, struct mmsghdr (msghdr + len), struct cmsghdr of 64-bit Linux. */
const IOVEC = { base: 0, length: 8, size: 16 } as const;
const MMSGHDR = {
  name: 0,
  nameLength: 8,
  iov: 16,
  iovCount: 24,
  control: 32,
  controlLength: 40,
  length: 56,
  size: 64,
};
const CMSGHDR = { level: 8, type: 12, data: 16 } as const;
/** cmsghdr and struct timespec. */
const CONTROL_SIZE = 32;

/** Size of the receive buffer, bytes. */
const BUFFER = 4 << 20;

const SLOTS = 16;
const SLOT_SIZE = 65536;

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
  readonly #headers = allocate(SLOTS * MMSGHDR.size);
  readonly #vectors = allocate(SLOTS * IOVEC.size);
  readonly #names = allocate(SLOTS * SOCKADDR_LL.size);
  readonly #control = allocate(SLOTS * CONTROL_SIZE);
  readonly #packets = allocate(SLOTS * SLOT_SIZE);

  private constructor(fd: number, ethernet: boolean) {
    this.#fd = fd;
    this.ethernet = ethernet;
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
    for (;;) {
      this.#prepare();
      const count = libc.recvmmsg(this.#fd, this.#headers.address, SLOTS, MSG_DONTWAIT, 0);
      if (count < 0) {
        // ENETDOWN comes once, when the device went down or was removed. Earlier packets are still to be read.
        const number = errno();
        if (number === ERRNO.EINTR || number === ERRNO.ENETDOWN) continue;
        if (number === ERRNO.EAGAIN) return captured;
        throw new LinuxError('recvmmsg AF_PACKET', number);
      }
      for (let slot = 0; slot < count; slot++) captured.push(this.#take(slot));
    }
  }

  close(): void {
    libc.close(this.#fd);
  }

  /** The kernel overwrites the lengths in each call. */
  #prepare(): void {
    for (let slot = 0; slot < SLOTS; slot++) {
      const header = slot * MMSGHDR.size;
      const set = (offset: number, value: number): void =>
        this.#headers.view.setBigUint64(header + offset, BigInt(value), true);
      set(MMSGHDR.name, this.#names.address + slot * SOCKADDR_LL.size);
      this.#headers.view.setUint32(header + MMSGHDR.nameLength, SOCKADDR_LL.size, true);
      set(MMSGHDR.iov, this.#vectors.address + slot * IOVEC.size);
      set(MMSGHDR.iovCount, 1);
      set(MMSGHDR.control, this.#control.address + slot * CONTROL_SIZE);
      set(MMSGHDR.controlLength, CONTROL_SIZE);
      const vector = slot * IOVEC.size;
      this.#vectors.view.setBigUint64(vector, BigInt(this.#packets.address + slot * SLOT_SIZE), true);
      this.#vectors.view.setBigUint64(vector + IOVEC.length, BigInt(SLOT_SIZE), true);
    }
  }

  #take(slot: number): CapturedPacket {
    const length = this.#headers.view.getUint32(slot * MMSGHDR.size + MMSGHDR.length, true);
    const start = slot * SLOT_SIZE;
    const control = slot * CONTROL_SIZE;
    const stamped =
      this.#control.view.getInt32(control + CMSGHDR.level, true) === SOL_SOCKET &&
      this.#control.view.getInt32(control + CMSGHDR.type, true) === SO_TIMESTAMPNS;
    const seconds = this.#control.view.getBigInt64(control + CMSGHDR.data, true);
    const nanoseconds = this.#control.view.getBigInt64(control + CMSGHDR.data + 8, true);
    return {
      bytes: Uint8Array.from(this.#packets.bytes.subarray(start, start + Math.min(length, SLOT_SIZE))),
      time: stamped ? seconds * 1_000_000_000n + nanoseconds : BigInt(Date.now()) * 1_000_000n,
      outgoing: this.#names.view.getUint8(slot * SOCKADDR_LL.size + SOCKADDR_LL.type) === PACKET_OUTGOING,
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

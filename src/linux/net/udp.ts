import { ERRNO, LinuxError } from '../ffi/errno.js';
import { call, errno, libc } from '../ffi/libc.js';
import { allocate } from '../ffi/memory.js';
import { AF, readSocketAddress, SOCK, writeSocketAddress } from './socket-address.js';
import { SOL_SOCKET, setReceiveBuffer, trySocketOption } from './socket-options.js';

/** Levels and options, asm-generic/socket.h, linux/in.h, linux/in6.h. */
const SO_SNDBUF = 7;
const SO_SNDBUFFORCE = 32;
export const SOL_IP = 0;
const IP_PKTINFO = 8;
const IP_MTU_DISCOVER = 10;
const IP_RECVTOS = 13;
export const SOL_IPV6 = 41;
const IP_RECVERR = 11;
const IPV6_RECVERR = 25;
const IPV6_V6ONLY = 26;
const IPV6_RECVPKTINFO = 49;
const IPV6_RECVTCLASS = 66;

/** linux/in.h: never set DF, and ignore the path MTU; datagrams above the device's MTU are fragmented here. */
const IP_PMTUDISC_OMIT = 5;

/** linux/udp.h. */
const SOL_UDP = 17;
const UDP_SEGMENT = 103;
const UDP_GRO = 104;

/** struct msghdr, linux/socket.h. */
const MSGHDR_SIZE = 56;

/** How often to choose another port if somebody else takes the first. */
const CHOOSE_ATTEMPTS = 10;

/** A UDP socket for both IP versions, or for IPv4 only where the machine has no IPv6. It does not block. */
export class UdpSocket {
  readonly fd: number;
  /** `AF.inet6`, or `AF.inet` on a machine without IPv6: the family of its socket addresses. */
  readonly family: number;

  private constructor(fd: number, family: number) {
    this.fd = fd;
    this.family = family;
  }

  /**
   * @param port the local port on every address of the machine; 0 lets the kernel choose one
   * @throws LinuxError, with EADDRINUSE when another program has the port
   */
  static open(port: number): UdpSocket {
    if (port !== 0) return UdpSocket.#bound(port);
    // A reconnected socket loses a port that the kernel chose at bind(2) (__udp_disconnect, net/ipv4/udp.c). A port
    // that was given by number stays.
    for (let attempt = 1; ; attempt++) {
      const chooser = UdpSocket.#bound(0);
      const chosen = chooser.port;
      chooser.close();
      try {
        return UdpSocket.#bound(chosen);
      } catch (error) {
        const taken = error instanceof LinuxError && error.errno === ERRNO.EADDRINUSE;
        if (!taken || attempt === CHOOSE_ATTEMPTS) throw error;
      }
    }
  }

  static #bound(port: number): UdpSocket {
    const type = SOCK.datagram | SOCK.cloexec | SOCK.nonblock;
    const dual = libc.socket(AF.inet6, type, 0);
    const without6 = dual < 0 && errno() === ERRNO.EAFNOSUPPORT;
    const fd = call(without6 ? libc.socket(AF.inet, type, 0) : dual, 'open a UDP socket');
    const socket = new UdpSocket(fd, without6 ? AF.inet : AF.inet6);
    try {
      if (!without6) socket.#set(SOL_IPV6, IPV6_V6ONLY, 0);
      const any = allocate(32);
      const address = new Uint8Array(without6 ? 4 : 16);
      const length = writeSocketAddress(any.view, 0, socket.family, { address, port });
      call(libc.bind(fd, any.address, length), `listen on UDP port ${port}`, {
        [ERRNO.EACCES]: 'ports below 1024 need root or CAP_NET_BIND_SERVICE',
      });
      return socket;
    } catch (error) {
      socket.close();
      throw error;
    }
  }

  /** The socket's port. */
  get port(): number {
    const memory = allocate(40);
    memory.view.setUint32(32, 32, true);
    call(libc.getsockname(this.fd, memory.address, memory.address + 32), 'getsockname');
    return readSocketAddress(memory.view, 0).port;
  }

  /**
   * Sets the size of both buffers in bytes, for bursts. Only CAP_NET_ADMIN allows more than the system's limit;
   * without it, the limit applies.
   */
  setBuffers(size: number): void {
    setReceiveBuffer(this.fd, size);
    if (!this.#try(SOL_SOCKET, SO_SNDBUFFORCE, size)) this.#try(SOL_SOCKET, SO_SNDBUF, size);
  }

  /** Makes each received datagram report the local address that it was sent to. */
  reportDestinations(): void {
    if (this.family === AF.inet) this.#set(SOL_IP, IP_PKTINFO, 1);
    else this.#set(SOL_IPV6, IPV6_RECVPKTINFO, 1);
  }

  /**
   * Makes a connected socket report all ICMP errors, including unreachable hosts and networks. They also wait in a
   * separate queue, which must be emptied: `dropQueuedErrors`.
   */
  reportErrors(): void {
    this.#set(SOL_IP, IP_RECVERR, 1);
    if (this.family !== AF.inet) this.#set(SOL_IPV6, IPV6_RECVERR, 1);
  }

  /** Makes each received datagram report its traffic class (IPv4: type of service). */
  reportTrafficClass(): void {
    this.#set(SOL_IP, IP_RECVTOS, 1);
    if (this.family !== AF.inet) this.#set(SOL_IPV6, IPV6_RECVTCLASS, 1);
  }

  /**
   * Clears DF on IPv4, as the kernel's WireGuard does. A router with a smaller link then fragments a datagram, instead
   * of dropping it with an ICMP message that a firewall may filter. Runs still leave as one message. IPv6 routers never
   * fragment; there the kernel fragments datagrams that exceed the path MTU.
   */
  letRoutersFragment(): void {
    this.#set(SOL_IP, IP_MTU_DISCOVER, IP_PMTUDISC_OMIT);
  }

  close(): void {
    libc.close(this.fd);
  }

  #set(level: number, option: number, value: number): void {
    if (!this.#try(level, option, value)) call(-1, `setsockopt ${level}/${option}`);
  }

  #try(level: number, option: number, value: number): boolean {
    return trySocketOption(this.fd, level, option, value);
  }
}

/** Whether the kernel can split runs that a UDP socket sends, UDP_SEGMENT (Linux 4.18): `SendBatch.addRun`. */
export function canSendSegments(fd: number): boolean {
  return libc.setsockopt(fd, SOL_UDP, UDP_SEGMENT, allocate(4).address, 4) === 0; // 0: only messages that ask for it
}

/**
 * Lets the kernel bundle datagrams of one sender, UDP_GRO: `ReceiveBatch.segmentSize`.
 *
 * @returns whether the kernel can (Linux 5.0)
 */
export function receiveSegments(fd: number): boolean {
  return trySocketOption(fd, SOL_UDP, UDP_GRO, 1);
}

/** A socket's use of memory: nine u32, linux/sock_diag.h. Since Linux 4.12. */
const SO_MEMINFO = 55;
const MEMINFO = { received: 0, receiveBuffer: 4, drops: 32, size: 36 } as const;

/** How full a socket's receive queue is, and how many datagrams found it full. */
export class ReceiveQueue {
  readonly #fd: number;
  readonly #memory = allocate(MEMINFO.size + 4);

  constructor(fd: number) {
    this.#fd = fd;
  }

  /** Asks the kernel, which may still count up to a quarter of what was read. @returns 0 to 1, or slightly more */
  fill(): number {
    const { view } = this.#memory;
    if (!this.#read()) return 0;
    return view.getUint32(MEMINFO.received, true) / view.getUint32(MEMINFO.receiveBuffer, true);
  }

  /** How many datagrams or bundles found the queue full since the socket was opened. */
  drops(): number {
    return this.#read() ? this.#memory.view.getUint32(MEMINFO.drops, true) : 0;
  }

  #read(): boolean {
    const { view, address } = this.#memory;
    view.setUint32(MEMINFO.size, MEMINFO.size, true);
    return libc.getsockopt(this.#fd, SOL_SOCKET, SO_MEMINFO, address, address + MEMINFO.size) === 0;
  }
}

/** linux/socket.h. */
const MSG_ERRQUEUE = 0x2000;

/** An empty message. */
const nothing = allocate(MSGHDR_SIZE);

/** Empties a socket's queue of errors. A failed call has reported each of them, and they would keep poll(2) awake. */
export function dropQueuedErrors(fd: number): void {
  while (libc.recvmsg(fd, nothing.address, MSG_ERRQUEUE) >= 0);
}

/**
 * Reconnects a UDP socket: from now on it receives datagrams from that address only, reports ICMP errors, and has the
 * source address of the current route.
 *
 * @returns 0, or the errno (ENETUNREACH without a route), after which it is not connected
 */
export function reconnect(fd: number, socketAddress: number, length: number): number {
  const nobody = allocate(16);
  nobody.view.setUint16(0, AF.unspecified, true);
  libc.connect(fd, nobody.address, 16);
  return libc.connect(fd, socketAddress, length) === 0 ? 0 : errno();
}

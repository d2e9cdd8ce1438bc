import { ERRNO, ERRNO_HINT, LinuxError } from '../ffi/errno.js';
import { call, errno, libc } from '../ffi/libc.js';
import { allocate } from '../ffi/memory.js';
import {
  MessageWriter,
  type NetlinkMessage,
  NLM_F,
  NLMSG,
  readAcknowledgement,
  readMessages,
} from './netlink-message.js';
import { AF, SOCK } from './socket-address.js';

/** Netlink protocols, one for each part of the kernel. */
export const NETLINK = { route: 0, netfilter: 12 } as const;
/** linux/socket.h, linux/netlink.h. */
const MSG_TRUNC = 0x20;
const SOL_NETLINK = 270;
const NETLINK_CAP_ACK = 10;
const NETLINK_EXT_ACK = 11;
const NETLINK_GET_STRICT_CHK = 12;

/** struct sockaddr_nl, linux/netlink.h: family u16, port u32 @4, multicast groups u32 @8. */
const SOCKADDR_NL = { family: 0, port: 4, groups: 8, size: 12 } as const;

/** No datagram of a dump is larger: netlink_dump() in net/netlink/af_netlink.c allocates at most this. */
const BUFFER_SIZE = 32_768;

/** How many times to read a list again if it changed meanwhile. */
const DUMP_ATTEMPTS = 10;

/** Advice for certain errnos of a request. */
export type Hints = Readonly<Record<number, string>>;

/**
 * A socket to the kernel's routing tables, rtnetlink(7), or to another part of the kernel. It belongs to the network
 * namespace that the calling thread is in when it is opened.
 *
 * Requests are synchronous and never wait: the kernel has answered before `send` returns.
 */
export class NetlinkSocket {
  readonly fd: number;
  readonly #buffer = allocate(BUFFER_SIZE);
  #sequence = 0;

  /**
   * @param groups multicast groups to join, as bits: RTMGRP_*, linux/rtnetlink.h
   * @throws LinuxError
   */
  constructor(groups = 0, protocol: number = NETLINK.route) {
    const type = SOCK.raw | SOCK.nonblock | SOCK.cloexec;
    this.fd = call(libc.socket(AF.netlink, type, protocol), 'open a netlink socket');
    try {
      const { view, address } = allocate(SOCKADDR_NL.size);
      view.setUint16(SOCKADDR_NL.family, AF.netlink, true);
      view.setUint32(SOCKADDR_NL.groups, groups, true);
      call(libc.bind(this.fd, address, SOCKADDR_NL.size), 'bind a netlink socket');
      // Ask for messages beside the errno, no echo of the request, and lists that honour filters. Old kernels refuse
      // this.
      view.setInt32(0, 1, true);
      for (const option of [NETLINK_EXT_ACK, NETLINK_CAP_ACK, NETLINK_GET_STRICT_CHK]) {
        libc.setsockopt(this.fd, SOL_NETLINK, option, address, 4);
      }
    } catch (error) {
      libc.close(this.fd);
      throw error;
    }
  }

  /**
   * Sends a request and collects the kernel's answers until it says that it is done.
   *
   * @param what the request and its object, for errors: `set the MTU of tun0 to 1468`
   * @throws LinuxError if the kernel refuses
   */
  request(message: MessageWriter, what: string, hints: Hints = {}): NetlinkMessage[] {
    for (let attempt = 1; ; attempt++) {
      const answers = this.#exchange(message, what, hints);
      const complete = answers.every(({ flags }) => (flags & NLM_F.dumpInterrupted) === 0);
      if (complete || attempt === DUMP_ATTEMPTS) return answers.filter(({ type }) => type !== NLMSG.done);
    }
  }

  #exchange(message: MessageWriter, what: string, hints: Hints): NetlinkMessage[] {
    this.#sequence += 1;
    const sequence = this.#sequence;
    const bytes = message.finish(sequence);
    this.#buffer.bytes.set(bytes);
    call(libc.send(this.fd, this.#buffer.address, bytes.length, 0), what, hints);

    const answers: NetlinkMessage[] = [];
    for (;;) {
      const datagram = this.receive();
      if (datagram === undefined) throw new LinuxError(what, ERRNO.EAGAIN, 'the kernel did not answer');
      for (const answer of readMessages(datagram)) {
        if (answer.sequence !== sequence) continue; // a notification, or the rest of a refused request
        const isEnd = answer.type === NLMSG.error || answer.type === NLMSG.done;
        if (!isEnd || answer.type === NLMSG.done) answers.push(answer);
        if (!isEnd) continue;
        const { errno: number, text } = readAcknowledgement(answer);
        if (number === 0) return answers;
        const words = text === undefined ? ERRNO_HINT[number] : `the kernel says: ${text}`;
        throw new LinuxError(what, number, hints[number] ?? words);
      }
    }
  }

  /**
   * Receives a copy of one datagram; undefined if there is none.
   *
   * @throws LinuxError ENOBUFS if notifications were lost
   */
  receive(): Uint8Array | undefined {
    const { address, bytes } = this.#buffer;
    for (;;) {
      const length = libc.recv(this.fd, address, BUFFER_SIZE, MSG_TRUNC);
      if (length < 0 && errno() === ERRNO.EAGAIN) return undefined;
      if (length < 0 && errno() === ERRNO.EINTR) continue;
      call(length, 'read a netlink socket');
      if (length > BUFFER_SIZE) throw new LinuxError('read a netlink socket', ERRNO.EMSGSIZE);
      return new Uint8Array(bytes.subarray(0, length));
    }
  }

  /** All waiting notifications, and whether some were lost because they came faster than they were read. */
  notifications(): { readonly messages: NetlinkMessage[]; readonly areLost: boolean } {
    const messages: NetlinkMessage[] = [];
    for (let areLost = false; ; ) {
      try {
        const datagram = this.receive();
        if (datagram === undefined) return { messages, areLost };
        messages.push(...readMessages(datagram));
      } catch (error) {
        if (!(error instanceof LinuxError && error.errno === ERRNO.ENOBUFS)) throw error;
        areLost = true;
      }
    }
  }

  close(): void {
    libc.close(this.fd);
  }
}

/** Sends one request on a new socket, which takes a few microseconds and uses the thread's current namespace. */
export function rtnetlink(message: MessageWriter, what: string, hints: Hints = {}): NetlinkMessage[] {
  const socket = new NetlinkSocket();
  try {
    return socket.request(message, what, hints);
  } finally {
    socket.close();
  }
}

/**
 * Asks for a list of both IP versions. Its requests and answers begin with the family, u8.
 *
 * @param complete adds attributes to a request
 */
export function listBoth(
  type: number,
  fixedSize: number,
  what: string,
  complete: (message: MessageWriter) => void = () => {},
): NetlinkMessage[] {
  return [AF.inet, AF.inet6].flatMap((family) => {
    const message = new MessageWriter(type, NLM_F.request | NLM_F.dump, fixedSize);
    message.fixed.setUint8(0, family);
    complete(message);
    try {
      return rtnetlink(message, what);
    } catch (error) {
      if (error instanceof LinuxError && NOTHING_TO_LIST.has(error.errno)) return [];
      throw error;
    }
  });
}

/** The answers of a kernel without IPv6, or without policy routing. */
const NOTHING_TO_LIST: ReadonlySet<number> = new Set([ERRNO.EAFNOSUPPORT, ERRNO.EOPNOTSUPP]);

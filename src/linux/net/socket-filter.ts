import { libc } from '../ffi/libc.js';
import { allocate, writeUint64 } from '../ffi/memory.js';
import { AF, SOCKADDR_IN, SOCKADDR_IN6 } from './socket-address.js';

/** asm-generic/socket.h. */
const SOL_SOCKET = 1;
const SO_ATTACH_FILTER = 26;
const SO_DETACH_FILTER = 27;

/** struct sock_filter, linux/filter.h: code u16, jump if true u8, if false u8, operand u32. */
const INSTRUCTION = { code: 0, jumpTrue: 2, jumpFalse: 3, operand: 4, size: 8 } as const;

/** Classic BPF, linux/bpf_common.h: load 16 or 32 bits into A, jump by a comparison of A, return. */
const LOAD_16 = 0x28;
const LOAD_32 = 0x20;
const JUMP_EQUAL = 0x15;
const JUMP_AT_LEAST = 0x35;
const RETURN = 0x06;

/**
 * Where not in the datagram itself, linux/filter.h: from the IP header on; its EtherType; the interface; a random u32.
 */
const NETWORK = -0x100000;
const PROTOCOL = -0x1000;
const INTERFACE = -0x1000 + 8;
const RANDOM = -0x1000 + 56;

/** linux/if_ether.h. */
const ETHERTYPE = { ipv4: 0x0800, ipv6: 0x86dd } as const;

/** The source address in an IPv4 and in an IPv6 header. */
const SOURCE4 = 12;
const SOURCE6 = 8;

const ALL = 0xffff_ffff;

/** The most instructions for a sender: seven comparisons, a random number, and its use. */
const BLOCK = 18;
/** linux/bpf_common.h, BPF_MAXINSNS. */
const MAX_INSTRUCTIONS = 4096;

/**
 * Makes the kernel drop a part of some senders' datagrams to a UDP socket, at the lowest cost. It compares a sender's
 * whole address: IP version, address, port and, for a link-local address, the interface.
 */
export class SocketFilter {
  readonly #fd: number;
  /** A struct sock_fprog (length u16, pointer at 8), then the program. */
  readonly #memory;
  readonly #capacity: number;
  #count = 0;
  /** Instructions so far. */
  #length = 0;

  /** @param capacity the most senders, up to 200 */
  constructor(fd: number, capacity: number) {
    if (capacity * BLOCK >= MAX_INSTRUCTIONS) throw new RangeError(`a filter of ${capacity} senders`);
    this.#fd = fd;
    this.#capacity = capacity;
    this.#memory = allocate(16 + (capacity * BLOCK + 1) * INSTRUCTION.size);
    writeUint64(this.#memory.view, 8, this.#memory.address + 16);
  }

  /** Removes all senders. Takes effect with `apply`. */
  clear(): void {
    this.#count = 0;
    this.#length = 0;
  }

  /**
   * @param name where a socket address as the kernel writes it begins in `view`
   * @param keep the part of its datagrams that passes, 0 to 1
   */
  add(view: DataView, name: number, keep: number): void {
    if (this.#count === this.#capacity) return;
    this.#count++;
    const tests = comparisons(view, name);
    for (const [i, { code, at, value }] of tests.entries()) {
      this.#write(code, at, 0, 0);
      this.#write(JUMP_EQUAL, value, 0, 2 * (tests.length - i - 1) + 4); // otherwise go on to the next sender
    }
    this.#write(LOAD_32, RANDOM, 0, 0);
    this.#write(JUMP_AT_LEAST, Math.min(ALL, Math.floor(keep * 2 ** 32)), 0, 1);
    this.#write(RETURN, 0, 0, 0);
    this.#write(RETURN, ALL, 0, 0);
  }

  /** @returns whether the kernel accepts the filter */
  apply(): boolean {
    const { view, address } = this.#memory;
    if (this.#count === 0) return libc.setsockopt(this.#fd, SOL_SOCKET, SO_DETACH_FILTER, address, 4) === 0;
    this.#write(RETURN, ALL, 0, 0);
    view.setUint16(0, this.#length--, true);
    return libc.setsockopt(this.#fd, SOL_SOCKET, SO_ATTACH_FILTER, address, 16) === 0;
  }

  #write(code: number, operand: number, jumpTrue: number, jumpFalse: number): void {
    const { view } = this.#memory;
    const at = 16 + this.#length++ * INSTRUCTION.size;
    view.setUint16(at + INSTRUCTION.code, code, true);
    view.setUint8(at + INSTRUCTION.jumpTrue, jumpTrue);
    view.setUint8(at + INSTRUCTION.jumpFalse, jumpFalse);
    view.setUint32(at + INSTRUCTION.operand, operand >>> 0, true);
  }
}

interface Comparison {
  readonly code: number;
  readonly at: number;
  readonly value: number;
}

/** The tests that only a sender's datagrams pass. */
function comparisons(view: DataView, name: number): Comparison[] {
  const isIpv6 = view.getUint16(name, true) === AF.inet6;
  const isMapped = isIpv6 && isIpv4Mapped(view, name + SOCKADDR_IN6.address);
  const overIpv6 = isIpv6 && !isMapped;
  const address = name + (isIpv6 ? SOCKADDR_IN6.address + (isMapped ? 12 : 0) : SOCKADDR_IN.address);
  const result: Comparison[] = [
    // The datagram begins with the UDP header, and that begins with the port.
    { code: LOAD_16, at: 0, value: view.getUint16(name + SOCKADDR_IN.port) },
    { code: LOAD_32, at: PROTOCOL, value: overIpv6 ? ETHERTYPE.ipv6 : ETHERTYPE.ipv4 },
  ];
  for (let i = 0; i < (overIpv6 ? 16 : 4); i += 4) {
    const at = NETWORK + (overIpv6 ? SOURCE6 : SOURCE4) + i;
    result.push({ code: LOAD_32, at, value: view.getUint32(address + i) });
  }
  const scope = overIpv6 ? view.getUint32(name + SOCKADDR_IN6.scope, true) : 0;
  if (scope !== 0) result.push({ code: LOAD_32, at: INTERFACE, value: scope });
  return result;
}

const isIpv4Mapped = (view: DataView, at: number): boolean =>
  view.getUint32(at) === 0 && view.getUint32(at + 4) === 0 && view.getUint32(at + 8) === 0xffff;

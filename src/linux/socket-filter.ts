import { libc } from './libc.js';
import { allocate, writeUint64 } from './memory.js';
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

/** Where not in the datagram itself, linux/filter.h: from the IP header on; a random u32. */
const NETWORK = -0x100000;
const RANDOM = -0x1000 + 56;

/** The last 32 bits of the source address in an IPv4 and in an IPv6 header. */
const SOURCE4 = 12;
const SOURCE6 = 20;

const ALL = 0xffff_ffff;

/** Instructions for each sender, and behind the last. */
const BLOCK = 8;

/**
 * Has the kernel drop a part of what some senders send to a UDP socket, before it costs more than that. It knows a sender
 * by its port and the last 32 bits of its address.
 */
export class SocketFilter {
  readonly #fd: number;
  /** A struct sock_fprog (length u16, pointer at 8), then the program. */
  readonly #memory;
  readonly #capacity: number;
  #count = 0;

  /** @param capacity how many senders at most, up to 500 */
  constructor(fd: number, capacity: number) {
    this.#fd = fd;
    this.#capacity = capacity;
    this.#memory = allocate(16 + (capacity * BLOCK + 1) * INSTRUCTION.size);
    writeUint64(this.#memory.view, 8, this.#memory.address + 16);
  }

  /** Begins anew: of nobody. It holds from `apply` on. */
  clear(): void {
    this.#count = 0;
  }

  /**
   * @param name where a socket address as the kernel writes it begins in `view`
   * @param keep the part of what it sends that passes, 0 to 1
   */
  add(view: DataView, name: number, keep: number): void {
    if (this.#count === this.#capacity) return;
    const ipv6 = view.getUint16(name, true) === AF.inet6;
    const mapped = ipv6 && view.getUint32(name + SOCKADDR_IN6.address + 8) === 0xffff;
    const tail = view.getUint32(name + (ipv6 ? SOCKADDR_IN6.address + 12 : SOCKADDR_IN.address));
    const port = view.getUint16(name + SOCKADDR_IN.port);
    const at = this.#count++ * BLOCK;
    this.#write(at, LOAD_16, 0, 0, 0); // the UDP header is where the datagram begins, and the port comes first
    this.#write(at + 1, JUMP_EQUAL, port, 0, 6);
    this.#write(at + 2, LOAD_32, NETWORK + (ipv6 && !mapped ? SOURCE6 : SOURCE4), 0, 0);
    this.#write(at + 3, JUMP_EQUAL, tail, 0, 4);
    this.#write(at + 4, LOAD_32, RANDOM, 0, 0);
    this.#write(at + 5, JUMP_AT_LEAST, Math.min(ALL, Math.floor(keep * 2 ** 32)), 0, 1);
    this.#write(at + 6, RETURN, 0, 0, 0);
    this.#write(at + 7, RETURN, ALL, 0, 0);
  }

  /** @returns whether the kernel takes it */
  apply(): boolean {
    const { view, address } = this.#memory;
    if (this.#count === 0) return libc.setsockopt(this.#fd, SOL_SOCKET, SO_DETACH_FILTER, address, 4) === 0;
    this.#write(this.#count * BLOCK, RETURN, ALL, 0, 0);
    view.setUint16(0, this.#count * BLOCK + 1, true);
    return libc.setsockopt(this.#fd, SOL_SOCKET, SO_ATTACH_FILTER, address, 16) === 0;
  }

  #write(index: number, code: number, operand: number, jumpTrue: number, jumpFalse: number): void {
    const { view } = this.#memory;
    const at = 16 + index * INSTRUCTION.size;
    view.setUint16(at + INSTRUCTION.code, code, true);
    view.setUint8(at + INSTRUCTION.jumpTrue, jumpTrue);
    view.setUint8(at + INSTRUCTION.jumpFalse, jumpFalse);
    view.setUint32(at + INSTRUCTION.operand, operand >>> 0, true);
  }
}

/**
 * Netlink messages as bytes, linux/netlink.h. Everything is in the machine's own order, which is little-endian
 * wherever this package runs; addresses are in network order.
 */

/** struct nlmsghdr: length u32 (this header included), type u16, flags u16, sequence u32, port u32. */
export const NLMSGHDR = { length: 0, type: 4, flags: 6, sequence: 8, port: 12, size: 16 } as const;

/** struct nlattr: length u16 (this header included), type u16, whose upper two bits are flags. */
const NLATTR = { length: 0, type: 2, size: 4, typeMask: 0x3fff } as const;

/** struct nlmsgerr: error i32, the header of the request, then attributes if NLM_F_ACK_TLVS is set. */
const NLMSGERR = { error: 0, request: 4, size: 20 } as const;

export const NLM_F = {
  request: 0x1,
  ack: 0x4,
  /** In an answer to a dump: the list changed while it was read. */
  dumpInterrupted: 0x10,
  /** In an acknowledgement: the request is not repeated behind its header. */
  capped: 0x100,
  /** In an acknowledgement: attributes follow. */
  ackAttributes: 0x200,
  dump: 0x300,
  replace: 0x100,
  exclusive: 0x200,
  create: 0x400,
} as const;

export const NLMSG = { error: 2, done: 3 } as const;

/** enum nlmsgerr_attrs: the kernel's message beside the errno. */
const NLMSGERR_ATTR_MSG = 1;

const ALIGN = 4;
const align = (length: number): number => (length + ALIGN - 1) & -ALIGN;

/** Writes one message: `new MessageWriter(type, flags, size)`, then `fixed`, then attributes, then `finish`. */
export class MessageWriter {
  /** The structure between header and attributes, zeroed. */
  readonly fixed: DataView;
  readonly #parts: Uint8Array[] = [];

  /** @param fixedSize size in bytes of the structure that messages of this type begin with */
  constructor(type: number, flags: number, fixedSize: number) {
    const head = new Uint8Array(NLMSGHDR.size + align(fixedSize));
    const view = new DataView(head.buffer);
    view.setUint16(NLMSGHDR.type, type, true);
    view.setUint16(NLMSGHDR.flags, flags, true);
    this.fixed = new DataView(head.buffer, NLMSGHDR.size, fixedSize);
    this.#parts.push(head);
  }

  attribute(type: number, value: Uint8Array): this {
    const part = new Uint8Array(align(NLATTR.size + value.length));
    const view = new DataView(part.buffer);
    view.setUint16(NLATTR.length, NLATTR.size + value.length, true);
    view.setUint16(NLATTR.type, type, true);
    part.set(value, NLATTR.size);
    this.#parts.push(part);
    return this;
  }

  u32(type: number, value: number): this {
    const bytes = new Uint8Array(4);
    new DataView(bytes.buffer).setUint32(0, value, true);
    return this.attribute(type, bytes);
  }

  /** Adds a string with its final zero. */
  text(type: number, value: string): this {
    return this.attribute(type, new TextEncoder().encode(`${value}\0`));
  }

  /** The bytes to send. */
  finish(sequence: number): Uint8Array {
    const length = this.#parts.reduce((sum, part) => sum + part.length, 0);
    const message = new Uint8Array(length);
    let offset = 0;
    for (const part of this.#parts) {
      message.set(part, offset);
      offset += part.length;
    }
    const view = new DataView(message.buffer);
    view.setUint32(NLMSGHDR.length, length, true);
    view.setUint32(NLMSGHDR.sequence, sequence, true);
    return message;
  }
}

export interface NetlinkMessage {
  readonly type: number;
  readonly flags: number;
  readonly sequence: number;
  readonly port: number;
  /** Everything behind the header. */
  readonly payload: DataView;
}

/** The messages of one datagram. Ends before the first one that is cut short. */
export function readMessages(datagram: Uint8Array): NetlinkMessage[] {
  const view = new DataView(datagram.buffer, datagram.byteOffset, datagram.byteLength);
  const messages: NetlinkMessage[] = [];
  let offset = 0;
  while (offset + NLMSGHDR.size <= view.byteLength) {
    const length = view.getUint32(offset + NLMSGHDR.length, true);
    if (length < NLMSGHDR.size || length > view.byteLength - offset) break;
    messages.push({
      type: view.getUint16(offset + NLMSGHDR.type, true),
      flags: view.getUint16(offset + NLMSGHDR.flags, true),
      sequence: view.getUint32(offset + NLMSGHDR.sequence, true),
      port: view.getUint32(offset + NLMSGHDR.port, true),
      payload: part(view, offset + NLMSGHDR.size, length - NLMSGHDR.size),
    });
    offset += align(length);
  }
  return messages;
}

/** Attributes by type. Of two with the same type the last counts, as in the kernel. */
export class Attributes {
  readonly #values = new Map<number, DataView>();

  /** @param offset of the first attribute in bytes: behind the fixed structure */
  constructor(payload: DataView, offset = 0) {
    let at = offset;
    while (at + NLATTR.size <= payload.byteLength) {
      const length = payload.getUint16(at + NLATTR.length, true);
      if (length < NLATTR.size || length > payload.byteLength - at) break;
      const type = payload.getUint16(at + NLATTR.type, true) & NLATTR.typeMask;
      this.#values.set(type, part(payload, at + NLATTR.size, length - NLATTR.size));
      at += align(length);
    }
  }

  u32(type: number): number | undefined {
    const value = this.#values.get(type);
    return value === undefined || value.byteLength < 4 ? undefined : value.getUint32(0, true);
  }

  /** Up to the first zero. */
  text(type: number): string | undefined {
    const bytes = this.bytes(type);
    if (bytes === undefined) return undefined;
    const end = bytes.indexOf(0);
    return new TextDecoder().decode(end < 0 ? bytes : bytes.subarray(0, end));
  }

  /** A copy. */
  bytes(type: number): Uint8Array | undefined {
    const value = this.#values.get(type);
    if (value === undefined) return undefined;
    return new Uint8Array(value.buffer, value.byteOffset, value.byteLength).slice();
  }

  /** The attributes inside an attribute; empty if there is no such attribute. */
  nested(type: number): Attributes {
    return new Attributes(this.#values.get(type) ?? new DataView(new ArrayBuffer(0)));
  }
}

export interface Acknowledgement {
  /** 0 if the request was executed. */
  readonly errno: number;
  /** The kernel's message, if it sent one. */
  readonly text: string | undefined;
}

/** Reads an NLMSG_ERROR, or the error in an NLMSG_DONE. An empty one counts as success. */
export function readAcknowledgement({ type, flags, payload }: NetlinkMessage): Acknowledgement {
  const errno = payload.byteLength < 4 ? 0 : Math.max(0, -payload.getInt32(NLMSGERR.error, true));
  if ((flags & NLM_F.ackAttributes) === 0) return { errno, text: undefined };
  return {
    errno,
    text: new Attributes(payload, attributesOffset(type, flags, payload)).text(NLMSGERR_ATTR_MSG),
  };
}

function attributesOffset(type: number, flags: number, payload: DataView): number {
  if (type === NLMSG.done) return 4;
  if ((flags & NLM_F.capped) !== 0 || payload.byteLength < NLMSGERR.size) return NLMSGERR.size;
  return NLMSGERR.request + align(payload.getUint32(NLMSGERR.request + NLMSGHDR.length, true));
}

const part = (view: DataView, offset: number, length: number): DataView =>
  new DataView(view.buffer, view.byteOffset + offset, length);

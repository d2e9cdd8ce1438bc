import type { TestContext } from 'node:test';
import koffi from '../../src/linux/ffi/koffi.js';
import { libc } from '../../src/linux/ffi/libc.js';
import { allocate } from '../../src/linux/ffi/memory.js';
import { SOCKADDR_IN6 } from '../../src/linux/net/socket-address.js';
import { CMSGHDR, IOVEC, MMSGHDR, SOL_UDP } from '../../src/packets/udp-batch.js';

/** A message passed to the kernel. */
export interface SentMessage {
  readonly length: number;
  /** The length of each of its datagrams, bytes; undefined for a single datagram. */
  readonly segmentSize: number | undefined;
  /** The destination port; 0 on a connected socket. */
  readonly port: number;
}

/** A message and the errno with which the kernel refused it; 0 when it was sent. */
export type Attempt = SentMessage & { readonly errno: number };

/**
 * Makes sendmmsg(2) of this thread refuse messages by a rule, until the test ends.
 *
 * @param rule returns an errno, or 0 to let a message pass
 * @returns all attempts so far, in order; the caller may empty the array
 */
export function refuseToSend(t: TestContext, rule: (message: SentMessage) => number): Attempt[] {
  const attempts: Attempt[] = [];
  const { sendmmsg } = libc;
  t.after(() => {
    libc.sendmmsg = sendmmsg;
  });
  libc.sendmmsg = (fd, messages, count, flags) => {
    for (let i = 0; i < count; i++) {
      const address = messages + i * MMSGHDR.size;
      const message = readMessage(address);
      let errno = rule(message);
      if (errno === 0 && sendmmsg(fd, address, 1, flags) < 0) errno = koffi.errno();
      attempts.push({ ...message, errno });
      if (errno === 0) continue;
      if (i > 0) return i; // like the kernel: the next call reports the error
      koffi.errno(errno);
      return -1;
    }
    return count;
  };
  return attempts;
}

function readMessage(address: number): SentMessage {
  const header = copy(address, MMSGHDR.size);
  const vector = copy(pointer(header, MMSGHDR.vectors), IOVEC.size);
  const nameLength = header.getUint32(MMSGHDR.nameLength, true);
  const name = nameLength === 0 ? undefined : copy(pointer(header, MMSGHDR.name), nameLength);
  const control = copy(pointer(header, MMSGHDR.control), header.getUint32(MMSGHDR.controlLength, true));
  let segmentSize: number | undefined;
  for (let at = 0; at < control.byteLength; at += (control.getUint32(at + CMSGHDR.length, true) + 7) & ~7) {
    if (control.getInt32(at + CMSGHDR.level, true) === SOL_UDP) {
      segmentSize = control.getUint16(at + CMSGHDR.data, true);
    }
  }
  const length = vector.getUint32(IOVEC.length, true);
  return { length, segmentSize, port: name?.getUint16(SOCKADDR_IN6.port) ?? 0 };
}

function copy(address: number, length: number): DataView {
  const memory = allocate(Math.max(length, 1));
  libc.memcpy(memory.address, address, length);
  return new DataView(memory.view.buffer, 0, length);
}

const pointer = (view: DataView, at: number): number => Number(view.getBigUint64(at, true));

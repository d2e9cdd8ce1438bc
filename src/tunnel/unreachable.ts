import { ANSWERS, UNREACHABLE_LENGTH, writeUnreachable } from '../ip/unreachable.js';
import { type Arena, VIRTIO } from '../ip/virtio.js';
import { errno, libc } from '../linux/ffi/libc.js';
import { allocate } from '../linux/ffi/memory.js';
import { TokenBucket } from '../token-bucket.js';
import type { WorkerContext } from './worker-context.js';

/**
 * Tells applications, through the TUN device, that a destination is unreachable, as WireGuard in the kernel does: no
 * peer has the address, or the peer has no endpoint. Packets for a peer that does not answer yet wait instead.
 */
export class Unreachable {
  readonly #context: WorkerContext;
  readonly #limit = new TokenBucket(ANSWERS);
  /** An empty `virtio_net_hdr`, and the answer. */
  readonly #out = allocate(VIRTIO.length + UNREACHABLE_LENGTH);

  constructor(context: WorkerContext) {
    this.#context = context;
  }

  /** Answers a whole packet if that is allowed. */
  answer(arena: Arena, packet: number, version: 4 | 6, length: number, now: number): void {
    const written = writeUnreachable(arena, packet, version, length, this.#out, VIRTIO.length);
    if (written === 0 || !this.#limit.take(now)) return;
    const { tunFd, offloads } = this.#context;
    const header = offloads.virtioHeader ? VIRTIO.length : 0;
    const begin = this.#out.address + VIRTIO.length - header;
    if (libc.write(tunFd, begin, header + written) < 0) this.#context.deviceFailed(errno());
  }
}

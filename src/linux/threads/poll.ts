import { ERRNO } from '../ffi/errno.js';
import { call, errno, libc } from '../ffi/libc.js';
import { allocate } from '../ffi/memory.js';

/** poll(2) events, asm-generic/poll.h. */
export const POLL = { in: 0x1, priority: 0x2, out: 0x4, error: 0x8, hangup: 0x10, invalid: 0x20 } as const;

/** struct pollfd, poll.h: fd i32 @0, events i16 @4, revents i16 @6. */
export const POLLFD = { fd: 0, events: 4, revents: 6, size: 8 } as const;

/** A fixed set of file descriptors to wait for. It blocks the calling thread, so use it in a worker. */
export class Poller {
  readonly #memory;
  readonly #count: number;

  constructor(fds: readonly number[]) {
    this.#count = fds.length;
    this.#memory = allocate(fds.length * POLLFD.size);
    fds.forEach((fd, index) => {
      this.#memory.view.setInt32(index * POLLFD.size + POLLFD.fd, fd, true);
      this.watch(index, POLL.in);
    });
  }

  /** Replaces the descriptor at `index`. A negative one is ignored. */
  replace(index: number, fd: number): void {
    this.#memory.view.setInt32(index * POLLFD.size + POLLFD.fd, fd, true);
  }

  /** Sets the events of the descriptor at `index` that end a wait. */
  watch(index: number, events: number): void {
    this.#memory.view.setInt16(index * POLLFD.size + POLLFD.events, events, true);
  }

  /**
   * Blocks until a descriptor is ready.
   *
   * @param timeout milliseconds; -1 waits for ever
   * @returns whether any is ready; a signal counts as a timeout
   * @throws LinuxError
   */
  wait(timeout: number): boolean {
    const ready = libc.poll(this.#memory.address, this.#count, timeout);
    if (ready < 0 && errno() === ERRNO.EINTR) {
      for (let i = 0; i < this.#count; i++) {
        this.#memory.view.setInt16(i * POLLFD.size + POLLFD.revents, 0, true);
      }
      return false;
    }
    return call(ready, 'poll') > 0;
  }

  /** The events of the descriptor at `index` in the last `wait`. */
  events(index: number): number {
    return this.#memory.view.getInt16(index * POLLFD.size + POLLFD.revents, true);
  }
}

const EFD_CLOEXEC = 0x80000;
const EFD_NONBLOCK = 0x800;

/** An eventfd(2), with which one thread wakes another that waits in a `Poller`. */
export class Waker {
  readonly fd: number;
  readonly #word = allocate(8);

  /** @param fd another thread's eventfd; a new one unless given */
  constructor(fd?: number) {
    this.fd = fd ?? call(libc.eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), 'eventfd');
  }

  wake(): void {
    this.#word.view.setBigUint64(0, 1n, true);
    libc.write(this.fd, this.#word.address, 8); // EAGAIN: the counter is full, so a wake-up is pending anyway
  }

  /** Takes all pending wake-ups. */
  clear(): void {
    libc.read(this.fd, this.#word.address, 8);
  }

  close(): void {
    libc.close(this.fd);
  }
}

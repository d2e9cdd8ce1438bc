import { ERRNO_HINT, LinuxError } from './errno.js';
import koffi from './koffi.js';

/**
 * Declares C functions of a library; null is what the process has already, so both glibc and musl work without a file name.
 * Every pointer is declared `intptr_t` and passed as a number, which costs a quarter of passing a Buffer.
 *
 * @throws where there is no such library; and, from the returned function, where it lacks a function
 */
export function functionsOf(library: string | null) {
  const lib = koffi.load(library);
  return <Arguments extends readonly (number | string)[] = [number, number, number]>(prototype: string) =>
    lib.func(prototype) as (...args: Arguments) => number;
}

export const declare = functionsOf(null);

/**
 * libc, called directly. These functions return -1 and set errno, as in C. Use `call()` except in hot loops, and read
 * `errno()` right after a failure.
 */
export const libc = {
  open: declare<[path: string, flags: number]>('int open(const char *path, int flags)'),
  close: declare<[fd: number]>('int close(int fd)'),
  read: declare('intptr_t read(int fd, intptr_t buffer, size_t length)'),
  write: declare('intptr_t write(int fd, intptr_t buffer, size_t length)'),
  memcpy: declare('intptr_t memcpy(intptr_t to, intptr_t from, size_t length)'),
  writev: declare('intptr_t writev(int fd, intptr_t vectors, int count)'),
  ioctl: declare('int ioctl(int fd, unsigned long request, intptr_t argument)'),
  poll: declare('int poll(intptr_t fds, unsigned long count, int timeout)'),
  clock_gettime: declare<[clock: number, time: number]>('int clock_gettime(int clock, intptr_t time)'),
  eventfd: declare<[initial: number, flags: number]>('int eventfd(unsigned int initial, int flags)'),
  socket: declare('int socket(int domain, int type, int protocol)'),
  bind: declare('int bind(int fd, intptr_t address, unsigned int length)'),
  connect: declare('int connect(int fd, intptr_t address, unsigned int length)'),
  getsockname: declare('int getsockname(int fd, intptr_t address, intptr_t length)'),
  setsockopt: declare<SocketOption>(
    'int setsockopt(int fd, int level, int option, intptr_t value, unsigned int length)',
  ),
  getsockopt: declare<SocketOption>(
    'int getsockopt(int fd, int level, int option, intptr_t value, intptr_t length)',
  ),
  send: declare<Transfer>('intptr_t send(int fd, intptr_t buffer, size_t length, int flags)'),
  recv: declare<Transfer>('intptr_t recv(int fd, intptr_t buffer, size_t length, int flags)'),
  sendmsg: declare('intptr_t sendmsg(int fd, intptr_t message, int flags)'),
  recvmsg: declare('intptr_t recvmsg(int fd, intptr_t message, int flags)'),
  sendmmsg: declare<Transfer>('int sendmmsg(int fd, intptr_t messages, unsigned int count, int flags)'),
  recvmmsg: declare<[...Transfer, timeout: number]>(
    'int recvmmsg(int fd, intptr_t messages, unsigned int count, int flags, intptr_t timeout)',
  ),
  if_nametoindex: declare<[name: string]>('unsigned int if_nametoindex(const char *name)'),
  setns: declare<[fd: number, type: number]>('int setns(int fd, int type)'),
  flock: declare<[fd: number, operation: number]>('int flock(int fd, int operation)'),
  fcntl: declare('int fcntl(int fd, int command, intptr_t argument)'),
};

type Transfer = [fd: number, pointer: number, length: number, flags: number];
type SocketOption = [fd: number, level: number, option: number, value: number, length: number];

/** errno of the calling thread's last failed call. */
export const errno = (): number => koffi.errno();

/**
 * Turns -1 into an error that says what failed, on which object, and what to do.
 *
 * @param result what the libc function returned
 * @param what the call and its object, for the message: `TUNSETIFF tun0`
 * @param hints advice for certain errnos, where it can be better than `ERRNO_HINT`
 * @throws LinuxError if `result` is negative
 */
export function call(result: number, what: string, hints: Readonly<Record<number, string>> = {}): number {
  if (result >= 0) return result;
  const number = errno();
  throw new LinuxError(what, number, hints[number] ?? ERRNO_HINT[number]);
}

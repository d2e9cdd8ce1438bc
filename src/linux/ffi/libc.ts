import koffi from 'koffi';
import { ERRNO_HINT, LinuxError } from './errno.js';

/**
 * libc, called directly. Every pointer is declared `intptr_t` and passed as a number, which costs a
 * quarter of passing a Buffer. `koffi.load(null)` finds what is already in the process, so both glibc and musl
 * work without a file name.
 *
 * These functions return -1 and set errno, as in C. Use `call()` except in hot loops, and read `errno()` right
 * after a failure.
 */
const process_ = koffi.load(null);

export const libc = {
  open: process_.func('int open(const char *path, int flags)') as (path: string, flags: number) => number,
  close: process_.func('int close(int fd)') as (fd: number) => number,
  read: process_.func('intptr_t read(int fd, intptr_t buffer, size_t length)') as Transfer,
  write: process_.func('intptr_t write(int fd, intptr_t buffer, size_t length)') as Transfer,
  memcpy: process_.func('intptr_t memcpy(intptr_t to, intptr_t from, size_t length)') as Transfer,
  writev: process_.func('intptr_t writev(int fd, intptr_t vectors, int count)') as Transfer,
  ioctl: process_.func('int ioctl(int fd, unsigned long request, intptr_t argument)') as Transfer,
  poll: process_.func('int poll(intptr_t fds, unsigned long count, int timeout)') as Transfer,
  clock_gettime: process_.func('int clock_gettime(int clock, intptr_t time)') as (
    clock: number,
    time: number,
  ) => number,
  eventfd: process_.func('int eventfd(unsigned int initial, int flags)') as (
    initial: number,
    flags: number,
  ) => number,
  socket: process_.func('int socket(int domain, int type, int protocol)') as (
    domain: number,
    type: number,
    protocol: number,
  ) => number,
  bind: process_.func('int bind(int fd, intptr_t address, unsigned int length)') as Transfer,
  connect: process_.func('int connect(int fd, intptr_t address, unsigned int length)') as Transfer,
  getsockname: process_.func('int getsockname(int fd, intptr_t address, intptr_t length)') as Transfer,
  setsockopt: process_.func(
    'int setsockopt(int fd, int level, int option, intptr_t value, unsigned int length)',
  ) as SocketOption,
  getsockopt: process_.func(
    'int getsockopt(int fd, int level, int option, intptr_t value, intptr_t length)',
  ) as SocketOption,
  send: process_.func('intptr_t send(int fd, intptr_t buffer, size_t length, int flags)') as (
    fd: number,
    buffer: number,
    length: number,
    flags: number,
  ) => number,
  recv: process_.func('intptr_t recv(int fd, intptr_t buffer, size_t length, int flags)') as (
    fd: number,
    buffer: number,
    length: number,
    flags: number,
  ) => number,
  sendmsg: process_.func('intptr_t sendmsg(int fd, intptr_t message, int flags)') as (
    fd: number,
    message: number,
    flags: number,
  ) => number,
  recvmsg: process_.func('intptr_t recvmsg(int fd, intptr_t message, int flags)') as (
    fd: number,
    message: number,
    flags: number,
  ) => number,
  sendmmsg: process_.func('int sendmmsg(int fd, intptr_t messages, unsigned int count, int flags)') as Batch,
  recvmmsg: process_.func(
    'int recvmmsg(int fd, intptr_t messages, unsigned int count, int flags, intptr_t timeout)',
  ) as (fd: number, messages: number, count: number, flags: number, timeout: number) => number,
  if_nametoindex: process_.func('unsigned int if_nametoindex(const char *name)') as (name: string) => number,
  setns: process_.func('int setns(int fd, int type)') as (fd: number, type: number) => number,
  flock: process_.func('int flock(int fd, int operation)') as (fd: number, operation: number) => number,
  fcntl: process_.func('int fcntl(int fd, int command, intptr_t argument)') as Transfer,
};

type Transfer = (fd: number, pointer: number, length: number) => number;
type Batch = (fd: number, messages: number, count: number, flags: number) => number;
type SocketOption = (fd: number, level: number, option: number, value: number, length: number) => number;

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

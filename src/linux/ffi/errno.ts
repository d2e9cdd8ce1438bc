import { LametunError } from '../../errors.js';
import koffi from './koffi.js';

/** The errnos that this package distinguishes, asm-generic/errno-base.h and errno.h. */
export const ERRNO = {
  EPERM: 1,
  ENOENT: 2,
  ESRCH: 3,
  EINTR: 4,
  EIO: 5,
  EBADF: 9,
  EAGAIN: 11,
  EACCES: 13,
  EFAULT: 14,
  EBUSY: 16,
  EEXIST: 17,
  ENODEV: 19,
  EINVAL: 22,
  ENOSPC: 28,
  ERANGE: 34,
  EBADFD: 77,
  EMSGSIZE: 90,
  EPROTONOSUPPORT: 93,
  EOPNOTSUPP: 95,
  EAFNOSUPPORT: 97,
  EADDRINUSE: 98,
  EADDRNOTAVAIL: 99,
  ENETDOWN: 100,
  ENETUNREACH: 101,
  ENOBUFS: 105,
  ECONNREFUSED: 111,
  EHOSTDOWN: 112,
  EHOSTUNREACH: 113,
} as const;

/** Advice for an errno, whichever call failed. A call can give its own. */
export const ERRNO_HINT: Readonly<Record<number, string>> = {
  [ERRNO.EPERM]: 'needs root (try sudo) or the capability CAP_NET_ADMIN',
  [ERRNO.EADDRINUSE]: 'another program uses it: stop that program, or choose another port',
  [ERRNO.EADDRNOTAVAIL]: 'no interface of this machine has that address',
  [ERRNO.EAFNOSUPPORT]: 'this machine has that address family switched off',
};

/** The kernel's text for an errno, strerror(3). */
export const describeErrno = koffi.load(null).func('const char *strerror(int number)') as (
  number: number,
) => string;

/** A call that the kernel refused: what failed, on which object, why, and what to do. */
export class LinuxError extends LametunError {
  readonly errno: number;
  constructor(what: string, number: number, hint?: string, options?: ErrorOptions) {
    super('linux', `${what}: ${describeErrno(number)}${hint === undefined ? '' : `: ${hint}`}`, options);
    this.errno = number;
  }
}

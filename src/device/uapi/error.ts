import { LametunError } from '../../errors.js';
import { ERRNO } from '../../linux/ffi/errno.js';

/** The errnos of a configuration request, besides the kernel's; the same as wireguard-go's. */
export const UAPI_ERRNO = {
  /** A line is too long. */
  io: 5,
  invalid: ERRNO.EINVAL,
  /** EPROTO: a line that is not `key=value`. */
  protocol: 71,
  portInUse: ERRNO.EADDRINUSE,
} as const;

/** A request that cannot be fulfilled. Its earlier lines stay in effect. The message repeats no values. */
export class UapiError extends LametunError {
  /** Positive; negated in the answer. */
  readonly errno: number;
  constructor(errno: number, message: string, options?: ErrorOptions) {
    super('usage', message, options);
    this.errno = errno;
  }
}

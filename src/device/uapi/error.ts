import { LametunError } from '../../errors.js';
import { ERRNO } from '../../linux/ffi/errno.js';

/** The errnos that a configuration request can end with, beside those of the kernel; as wireguard-go has them. */
export const UAPI_ERRNO = {
  /** A line is too long. */
  io: 5,
  invalid: ERRNO.EINVAL,
  /** EPROTO: a line that is not `key=value`. */
  protocol: 71,
  portInUse: ERRNO.EADDRINUSE,
} as const;

/** A request that cannot be fulfilled. What its lines before did, stays done. The message repeats no values. */
export class UapiError extends LametunError {
  /** Positive; the answer has it negated. */
  readonly errno: number;
  constructor(errno: number, message: string, options?: ErrorOptions) {
    super('usage', message, options);
    this.errno = errno;
  }
}

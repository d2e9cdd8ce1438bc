/** Every code that an error of this package can carry, with what state remains after it. */
export type ErrorCode =
  /** The caller's words are off (option, address, configuration). Nothing was changed. */
  | 'usage'
  /** The kernel refused a call; see `LinuxError`. What had been set up is undone by whoever set it up. */
  | 'linux'
  /** A host name could not be resolved. Nothing was changed. */
  | 'unknown-host'
  /** Another process has what is needed: a port, a state directory. Nothing was changed. */
  | 'busy'
  /** The machine lacks a program or a kernel feature that is needed. Nothing was changed. */
  | 'missing'
  /** The device was removed while in use. Everything that depended on it has ended. */
  | 'device-gone'
  /** The other side said what the protocol does not know. The connection is given up. */
  | 'protocol'
  /** The hub said no, and why. Nothing was changed. */
  | 'refused'
  /** Nobody answers: the hub, or the process that was to be asked. */
  | 'unreachable';

/** Base of everything this package throws. Match on `code`; messages may change. */
export class LametunError extends Error {
  readonly code: ErrorCode;
  constructor(code: ErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = new.target.name;
    this.code = code;
  }
}

/**
 * The codes of this package's errors, with the state that remains. `EXIT_STATUS` maps them to the exit status of a
 * command.
 */
export type ErrorCode =
  /** An argument is wrong (option, address, configuration). Nothing was changed. */
  | 'usage'
  /** The kernel refused a call; see `LinuxError`. The caller undoes what it has set up. */
  | 'linux'
  /** A host name could not be resolved. Nothing was changed. */
  | 'unknown-host'
  /** Another process uses a port or state directory. Nothing was changed. */
  | 'busy'
  /** Stored data cannot be used: it is damaged, of a newer version, or the disk is full. It is unchanged. */
  | 'state'
  /** The machine lacks a needed program, kernel feature or free network. Nothing was changed. */
  | 'missing'
  /** The device was removed while in use. Everything that depended on it has ended. */
  | 'device-gone'
  /** The other side broke the protocol. The connection is closed. */
  | 'protocol'
  /** The hub refused the request. Nothing was changed. */
  | 'refused'
  /** The hub, or another process, does not answer. */
  | 'unreachable';

/**
 * The exit status of a command that ends with an error: 2 if its arguments, or what they name, must be corrected first,
 * otherwise 1.
 */
export const EXIT_STATUS: Readonly<Record<ErrorCode, 1 | 2>> = {
  usage: 2,
  linux: 1,
  'unknown-host': 1,
  busy: 1,
  state: 1,
  missing: 1,
  'device-gone': 1,
  protocol: 1,
  refused: 1,
  unreachable: 1,
};

/** Base of everything this package throws. Match on `code`; messages may change. */
export class LametunError extends Error {
  readonly code: ErrorCode;
  constructor(code: ErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = new.target.name;
    this.code = code;
  }
}

/** The error for arguments that the user has to change. */
export const usage = (message: string, options?: ErrorOptions): LametunError =>
  new LametunError('usage', message, options);

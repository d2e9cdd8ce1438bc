/**
 * Every code that an error of this package can carry, with what state remains after it. `EXIT_STATUS` says what each is
 * to who called a command.
 */
export type ErrorCode =
  /** The caller's words are off (option, address, configuration). Nothing was changed. */
  | 'usage'
  /** The kernel refused a call; see `LinuxError`. What had been set up is undone by whoever set it up. */
  | 'linux'
  /** A host name could not be resolved. Nothing was changed. */
  | 'unknown-host'
  /** Another process has what is needed: a port, a state directory. Nothing was changed. */
  | 'busy'
  /** What is kept on this machine cannot be used: it is damaged, of a newer version, or the disk is full. It stays as it was. */
  | 'state'
  /** The machine lacks a program, a kernel feature or a free network that is needed. Nothing was changed. */
  | 'missing'
  /** The device was removed while in use. Everything that depended on it has ended. */
  | 'device-gone'
  /** The other side said what the protocol does not know. The connection is given up. */
  | 'protocol'
  /** The hub said no, and why. Nothing was changed. */
  | 'refused'
  /** Nobody answers: the hub, or the process that was to be asked. */
  | 'unreachable';

/** Of a command that ends with an error: 2 when its arguments, or what they name, are to be changed first; else 1. */
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

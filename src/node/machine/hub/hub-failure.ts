import { type ErrorCode, LametunError } from '../../../errors.js';
import { CLOSE_CODE } from '../../../protocol/channel.js';
import { type Refusal, WRONG_QUESTIONS } from '../../../protocol/messages.js';
import type { ChannelFailure } from '../../../protocol/transport.js';

/** Why there is no connection to the hub. */
export type HubFailureKind =
  /** No hub answers at any address. */
  | 'unreachable'
  /** A hub with another key than the token's. */
  | 'other-hub'
  /** The hub and this node have no protocol version in common. */
  | 'version'
  /** The hub refused: see `refusal`. */
  | 'refused'
  /** The connection broke. */
  | 'lost'
  /** The hub sent an invalid message. */
  | 'protocol'
  /** The hub has the right key, but serves another network. */
  | 'other-network'
  /** The hub of this node's network removed this node. */
  | 'removed'
  /** The caller rejected the network of the invitation: see `cause`. */
  | 'unwanted'
  /** The caller closed the client. */
  | 'closed';

const CODE: Readonly<Record<HubFailureKind, ErrorCode>> = {
  unreachable: 'unreachable',
  'other-hub': 'protocol',
  version: 'refused',
  refused: 'refused',
  lost: 'unreachable',
  protocol: 'protocol',
  'other-network': 'refused',
  removed: 'refused',
  unwanted: 'refused',
  closed: 'unreachable',
};

export class HubFailure extends LametunError {
  readonly kind: HubFailureKind;
  readonly refusal: Refusal | undefined;

  constructor(kind: HubFailureKind, message: string, options: { refusal?: Refusal; cause?: unknown } = {}) {
    const cause = options.cause;
    const isWrong = options.refusal !== undefined && WRONG_QUESTIONS.has(options.refusal);
    const code = cause instanceof LametunError ? cause.code : isWrong ? 'usage' : CODE[kind];
    super(code, message, cause === undefined ? {} : { cause });
    this.kind = kind;
    this.refusal = options.refusal;
  }
}

/** The most informative kind first. */
const TELLING = ['version', 'other-hub', 'refused', 'protocol', 'lost', 'unreachable'] as const;

/** Why all addresses failed: all failures of the most informative kind, as one. */
export function summarise(failures: readonly HubFailure[]): HubFailure {
  const kind = TELLING.find((each) => failures.some((failure) => failure.kind === each));
  const same = failures.filter((failure) => failure.kind === kind);
  if (same.length <= 1 || kind === undefined)
    return same[0] ?? new HubFailure('unreachable', 'no known address of the hub can be tried');
  return new HubFailure(kind, [...new Set(same.map(({ message }) => message))].join('; '));
}

const CHANNEL_KIND: Readonly<Record<ChannelFailure, HubFailureKind>> = {
  key: 'other-hub',
  version: 'version',
  refused: 'refused',
  garbled: 'protocol',
  protocol: 'protocol',
};

export const channelFailure = (why: ChannelFailure, text: string): HubFailure =>
  new HubFailure(CHANNEL_KIND[why], text);

/** The other side closed the WebSocket. Before the channel is open, only the code says why. */
export function closeFailure(where: string, code: number, wasOpen: boolean): HubFailure {
  if (wasOpen) return new HubFailure('lost', CLOSED[code] ?? 'the connection to the hub broke');
  if (code === CLOSE_CODE.key)
    return new HubFailure('other-hub', `${where}: this hub does not have the key in the token`);
  return new HubFailure(
    'unreachable',
    `${where}: ${CLOSED[code] ?? 'the server hung up; is it a lametun hub?'}`,
  );
}

/** RFC 6455 §7.4.1, and IANA's registry. */
const CLOSED: Readonly<Record<number, string>> = {
  1001: 'the hub is stopping',
  1012: 'the hub is restarting',
  1013: 'the hub is overloaded',
  [CLOSE_CODE.garbled]:
    'the hub could not decrypt the messages of this node: something in between alters them',
  [CLOSE_CODE.protocol]: 'the hub did not understand a message of this node',
};

/** A web server that is not a hub answered. */
export const responseFailure = (where: string, status: number): HubFailure =>
  new HubFailure(
    'unreachable',
    `${where}: a web server answered (${status}), not a lametun hub; a reverse proxy must forward WebSockets at /lametun`,
  );

/** An address could not be connected to, or a name not resolved. @param code of libuv, Node or OpenSSL: `ECONNREFUSED` */
export function connectFailure(where: string, code: string | undefined, cause?: unknown): HubFailure {
  const why = WHY[code ?? ''] ?? code ?? 'cannot be reached';
  return new HubFailure('unreachable', `${where}: ${why}`, cause === undefined ? {} : { cause });
}

const NO_ROUTE = 'no route to this address';
const NO_HTTP = 'the server at this address does not speak HTTP: it is not a lametun hub';
const NO_TLS = 'the server at this address does not speak TLS';
const WHY: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'connection refused; is the hub running, and on this port?',
  ECONNRESET: 'connection reset',
  EPIPE: 'connection reset',
  ETIMEDOUT: 'timed out; is the port open in every firewall?',
  EHOSTUNREACH: NO_ROUTE,
  ENETUNREACH: NO_ROUTE,
  EADDRNOTAVAIL: NO_ROUTE,
  EACCES: 'this machine does not allow the connection',
  ENOTFOUND: 'no such host name',
  ENODATA: 'the host name has no address',
  EAI_AGAIN: 'the name server does not answer',
  HPE_INVALID_CONSTANT: NO_HTTP,
  HPE_INVALID_VERSION: NO_HTTP,
  EPROTO: NO_TLS,
  ERR_SSL_WRONG_VERSION_NUMBER: NO_TLS,
};

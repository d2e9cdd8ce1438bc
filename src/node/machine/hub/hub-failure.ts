import { type ErrorCode, LametunError } from '../../../errors.js';
import { CLOSE_CODE } from '../../../protocol/channel.js';
import { type Refusal, WRONG_QUESTIONS } from '../../../protocol/messages.js';
import type { ChannelFailure } from '../../../protocol/transport.js';

/** Why there is no connection to the hub. */
export type HubFailureKind =
  /** Nobody answers at any address, or somebody who is no hub. */
  | 'unreachable'
  /** A hub, but not the one of the token. */
  | 'other-hub'
  /** It speaks no protocol version that we do. */
  | 'version'
  /** It said no: `refusal` is the code. */
  | 'refused'
  /** There was a connection, and it broke. */
  | 'lost'
  /** What it said makes no sense. */
  | 'protocol'
  /** It has the right key, and serves another network than this node's. */
  | 'other-network'
  /** The hub of this node's network says that it is no member any more. */
  | 'removed'
  /** The caller did not want to join, having seen the network; `cause` is what it threw. */
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

/** Words for people are its `message`. */
export class HubFailure extends LametunError {
  readonly kind: HubFailureKind;
  readonly refusal: Refusal | undefined;

  constructor(kind: HubFailureKind, message: string, options: { refusal?: Refusal; cause?: unknown } = {}) {
    const cause = options.cause;
    const isWrong = options.refusal !== undefined && WRONG_QUESTIONS.has(options.refusal);
    super(
      cause instanceof LametunError ? cause.code : isWrong ? 'usage' : CODE[kind],
      message,
      cause === undefined ? {} : { cause },
    );
    this.kind = kind;
    this.refusal = options.refusal;
  }
}

/** What is worth telling first when several addresses failed, each in its own way. */
const TELLING: readonly HubFailureKind[] = [
  'version',
  'other-hub',
  'refused',
  'protocol',
  'lost',
  'unreachable',
];

/** All addresses have failed: the most telling of the reasons, and where there are several of one kind, all of them. */
export function summarise(failures: readonly HubFailure[]): HubFailure {
  const kind = TELLING.find((each) => failures.some((failure) => failure.kind === each));
  const same = failures.filter((failure) => failure.kind === kind);
  if (same.length <= 1 || kind === undefined)
    return same[0] ?? new HubFailure('unreachable', 'the hub has no address that can be tried');
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

const OTHER_HUB = 'this is not the hub of the token: it has another key';

/** The WebSocket was closed by the other side. Before the channel is open its code is all that says why. */
export function closeFailure(where: string, code: number, wasOpen: boolean): HubFailure {
  if (wasOpen) return new HubFailure('lost', CLOSED[code] ?? 'the connection to the hub broke');
  if (code === CLOSE_CODE.key) return new HubFailure('other-hub', `${where}: ${OTHER_HUB}`);
  return new HubFailure('unreachable', `${where}: ${CLOSED[code] ?? 'it hung up; is this a lametun hub?'}`);
}

/** RFC 6455 §7.4.1, and IANA's registry. */
const CLOSED: Readonly<Record<number, string>> = {
  1001: 'the hub is stopping',
  1012: 'the hub is being started again',
  1013: 'the hub has too much to do',
  [CLOSE_CODE.garbled]: 'the hub could not read what we sent: something between us changes it',
  [CLOSE_CODE.protocol]: 'the hub did not understand what we sent',
};

/** A web server that is no hub. */
export const responseFailure = (where: string, status: number): HubFailure =>
  new HubFailure(
    'unreachable',
    `${where}: a web server is there, and no hub (it said ${status}); a reverse proxy must pass WebSockets for /lametun on`,
  );

/** What connecting to an address, or resolving a name, failed with. @param code of libuv, Node or OpenSSL: `ECONNREFUSED` */
export function connectFailure(where: string, code: string | undefined, cause?: unknown): HubFailure {
  const why = WHY[code ?? ''] ?? code ?? 'it cannot be reached';
  return new HubFailure('unreachable', `${where}: ${why}`, cause === undefined ? {} : { cause });
}

const NO_ROUTE = 'there is no route to it';
const NO_HTTP = 'what is there is no hub: it does not speak HTTP';
const NO_TLS = 'what is there does not speak TLS';
const WHY: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'the connection was refused; does the hub run, and on this port?',
  ECONNRESET: 'the connection was cut off',
  EPIPE: 'the connection was cut off',
  ETIMEDOUT: 'no answer; is the port open in all firewalls?',
  EHOSTUNREACH: NO_ROUTE,
  ENETUNREACH: NO_ROUTE,
  EADDRNOTAVAIL: NO_ROUTE,
  EACCES: 'this machine does not allow to connect there',
  ENOTFOUND: 'there is no such name',
  ENODATA: 'the name has no address',
  EAI_AGAIN: 'the name server does not answer',
  HPE_INVALID_CONSTANT: NO_HTTP,
  HPE_INVALID_VERSION: NO_HTTP,
  EPROTO: NO_TLS,
  ERR_SSL_WRONG_VERSION_NUMBER: NO_TLS,
};

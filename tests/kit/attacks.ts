import type { Drop } from '../../src/wireguard/drops.js';
import { INITIATION, MESSAGE_TYPE, RESPONSE, TRANSPORT, viewOf } from '../../src/wireguard/messages.js';
import { REPLAY } from '../../src/wireguard/replay.js';
import { tai64n } from '../../src/wireguard/tai64n.js';
import { echoRequest, HandmadePeer, type HandmadeSession, random } from './attacker.js';
import { ADDRESS, type Siege } from './siege.js';

export interface Attack {
  readonly name: string;
  readonly reason: Drop;
  /** Made with a session's keys: the attacker is a peer, not a stranger. */
  readonly authentic?: boolean;
  /** The session under attack, which must survive. */
  readonly session: HandmadeSession;
  /** The n-th datagram. */
  readonly make: (n: number) => Uint8Array;
}

/** Points of low order, little-endian: 0, 1, and p-1, p and p+1, which are -1, 0 and 1. p = 2^255 - 19. */
export const LOW_ORDER: readonly Uint8Array[] = [
  new Uint8Array(32),
  new Uint8Array(32).fill(1, 0, 1),
  ...[0xec, 0xed, 0xee].map((low) => new Uint8Array(32).fill(0xff).fill(low, 0, 1).fill(0x7f, 31)),
];

/** All attacks on a handshake or a session. The siege's peer makes a new session for them. */
export async function attacks(siege: Siege): Promise<Attack[]> {
  const { peer } = siege;
  const session = await siege.handshake();
  const stranger = new HandmadePeer(siege.publicKey);
  const accepted = await acceptedInitiation(siege);
  const current = accepted.session;
  const seen = current.seal(echoRequest(ADDRESS.peer, ADDRESS.inner));
  siege.socket.send(seen);
  current.counter += REPLAY.window + 1000;
  await siege.ping(current);
  const old = (n: number): number => 100 + n; // never used, and before the window

  const misdirected = (message: Uint8Array, at: number): Uint8Array => {
    viewOf(message).setUint32(at, current.remoteIndex ^ 0x5a5a5a5a, true);
    return message;
  };
  const transport = (): Uint8Array => current.seal(echoRequest(ADDRESS.peer, ADDRESS.inner));
  const response = (receiver: number): Uint8Array => {
    const message = random(RESPONSE.length);
    viewOf(message).setUint32(0, MESSAGE_TYPE.response, true);
    viewOf(message).setUint32(RESPONSE.receiver, receiver, true);
    peer.cookies.seal(message, performance.now());
    return message;
  };
  const cookieReply = (receiver: number): Uint8Array => {
    const message = random(64);
    viewOf(message).setUint32(0, MESSAGE_TYPE.cookieReply, true);
    viewOf(message).setUint32(4, receiver, true);
    return message;
  };
  /** A valid initiation with one byte changed and a valid mac1. */
  const changed = (at: number): Uint8Array => {
    const { message } = peer.initiation();
    message[at]! ^= 1;
    peer.cookies.seal(message, performance.now());
    return message;
  };
  const inner = (packet: Uint8Array): Uint8Array => current.seal(packet);

  const all: Omit<Attack, 'session'>[] = [
    { name: 'a replayed initiation', reason: 'old-timestamp', make: () => accepted.message },
    {
      name: 'an initiation with an older timestamp',
      reason: 'old-timestamp',
      make: () => peer.initiation({ timestamp: tai64n(Math.floor(Date.now() / 1000) - 3600, 0) }).message,
    },
    {
      name: 'an initiation from an unknown key',
      reason: 'unknown-peer',
      make: () => stranger.initiation().message,
    },
    {
      name: 'an ephemeral key of low order',
      reason: 'bad-handshake',
      make: (n) => peer.initiation({ ephemeral: LOW_ORDER[n % LOW_ORDER.length]! }).message,
    },
    {
      name: 'an initiation with one byte changed',
      reason: 'bad-handshake',
      make: (n) =>
        changed([INITIATION.ephemeral, INITIATION.static, INITIATION.timestamp][n % 3]! + (n % 16)),
    },
    {
      name: 'a wrong mac1',
      reason: 'bad-mac1',
      make: (n) => {
        const message = n % 2 === 0 ? peer.initiation().message : response(current.remoteIndex);
        message[message.length - 32]! ^= 1;
        return message;
      },
    },
    {
      name: 'a response without an initiation',
      reason: 'unknown-index',
      make: (n) => response(n % 2 === 0 ? current.remoteIndex : 12_345),
    },
    {
      name: 'a cookie reply to an unknown index',
      reason: 'unknown-index',
      make: () => cookieReply(current.remoteIndex ^ 0x5a5a5a5a),
    },
    {
      name: 'a cookie reply with a wrong tag',
      reason: 'bad-cookie',
      make: () => cookieReply(current.remoteIndex),
    },
    ...BAD_LENGTHS.map(
      ([type, name, lengths]): Omit<Attack, 'session'> => ({
        name: `${name} of an invalid length`,
        reason: 'malformed',
        make: (n) => {
          const message = random(lengths[n % lengths.length]!);
          if (message.length >= 4) viewOf(message).setUint32(0, type, true);
          return message;
        },
      }),
    ),
    {
      name: 'an unknown type, or reserved bytes that are not zero',
      reason: 'malformed',
      make: (n) => {
        const message = n % 2 === 0 ? peer.initiation().message : transport();
        if (n % 4 < 2) message[1 + (n % 3)] = 1;
        else message[0] = [0, 5, 255][n % 3]!;
        return message;
      },
    },
    {
      name: 'transport data for an unknown index',
      reason: 'unknown-index',
      make: () => misdirected(transport(), TRANSPORT.receiver),
    },
    {
      name: 'transport data with a wrong tag',
      reason: 'bad-tag',
      make: (n) => {
        const message = transport();
        message[n % 2 === 0 ? message.length - 1 : TRANSPORT.payload]! ^= 0x80;
        return message;
      },
    },
    {
      name: 'transport data with a counter of 2^53 and more',
      reason: 'counter-limit',
      make: beyond(current),
    },
    { name: 'replayed transport data', reason: 'replayed', make: () => seen },
    {
      name: 'transport data before the replay window',
      reason: 'replayed',
      make: (n) => current.seal(echoRequest(ADDRESS.peer, ADDRESS.inner), old(n)),
    },
    {
      name: 'replayed transport data of the previous session',
      reason: 'replayed',
      make: () => session.seal(echoRequest(ADDRESS.peer, ADDRESS.inner), 0),
    },
    {
      name: 'an inner source that is not allowed',
      reason: 'not-allowed-source',
      authentic: true,
      make: (n) =>
        inner(n % 2 === 0 ? echoRequest(`10.77.0.${100 + (n % 100)}`, ADDRESS.inner) : ipv6(40, 0)),
    },
    {
      name: 'an invalid inner packet',
      reason: 'bad-inner-packet',
      authentic: true,
      make: (n) => inner(BAD_INNER[n % BAD_INNER.length]!),
    },
  ];
  return all.map((attack) => ({ ...attack, session: current }));
}

/** Completes a handshake. @returns the initiation and the session */
async function acceptedInitiation(
  siege: Siege,
): Promise<{ readonly message: Uint8Array; readonly session: HandmadeSession }> {
  const session = await siege.handshake();
  return { message: siege.lastInitiation!, session };
}

/** Counters that doubles cannot tell apart; the first one has a valid tag. */
const beyond =
  (session: HandmadeSession) =>
  (n: number): Uint8Array => {
    const counters = [2n ** 53n, 2n ** 53n + 1n, 2n ** 60n, 2n ** 64n - 1n];
    return session.seal(echoRequest(ADDRESS.peer, ADDRESS.inner), counters[n % counters.length]!);
  };

const BAD_LENGTHS: readonly (readonly [number, string, readonly number[]])[] = [
  [MESSAGE_TYPE.initiation, 'an initiation', [147, 149, 116, 92, 64, 32, 1200, 5]],
  [MESSAGE_TYPE.response, 'a response', [91, 93, 148, 64, 32, 1200, 4]],
  [MESSAGE_TYPE.cookieReply, 'a cookie reply', [63, 65, 148, 92, 32, 1200, 31]],
  [MESSAGE_TYPE.transport, 'transport data', [31, 16, 17, 15, 8, 4, 3, 2, 1, 0]],
];

function ipv6(length: number, payload: number): Uint8Array {
  const packet = random(length);
  packet[0] = 0x60;
  viewOf(packet).setUint16(4, payload);
  return packet;
}

function ipv4(length: number, total: number): Uint8Array {
  const packet = echoRequest(ADDRESS.peer, ADDRESS.inner, 1, 100).slice(0, length);
  viewOf(packet).setUint16(2, total);
  return packet;
}

const BAD_INNER: readonly Uint8Array[] = [
  random(64).fill(0x00, 0, 1),
  random(64).fill(0x55, 0, 1),
  random(64).fill(0xf0, 0, 1),
  ipv4(48, 49), // one byte too long
  ipv4(48, 65_535),
  ipv4(48, 19), // shorter than a header
  ipv4(48, 0),
  ipv4(16, 16), // truncated header
  ipv6(32, 0), // truncated header
  ipv6(48, 9),
  ipv6(48, 65_535),
];

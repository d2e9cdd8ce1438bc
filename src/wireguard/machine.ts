import { LametunError } from '../errors.js';
import { ACTIVITY, resetActivity } from './activity.js';
import { CookieChecker } from './cookie.js';
import { type Crypto, mapKey, type PrivateKey, type PublicKey } from './crypto.js';
import { Deadlines } from './deadlines.js';
import { DROP, type Drop, DropCounters } from './drops.js';
import { EventQueue } from './event-queue.js';
import type { MachineEvent, PathRule, PeerEndpoint } from './events.js';
import { COOKIE_REPLY, INITIATION, MESSAGE_TYPE, messageType, RESPONSE, viewOf } from './messages.js';
import { openStatic } from './noise.js';
import { NO_INDEX, type PeerNumber, type ReceiverIndex } from './numbers.js';
import { Peer } from './peer.js';
import { RateLimiter } from './ratelimit.js';
import { TimestampSource } from './tai64n.js';

/** We are under load while this many handshake messages wait, and for a second after (as wireguard-go). */
export const UNDER_LOAD_QUEUE = 128;
/** How long the load state lasts, milliseconds. */
export const UNDER_LOAD_TIME = 1000;

export interface MachineOptions {
  readonly crypto: Crypto;
  /** Milliseconds since 1970; may jump. Used only for timestamps in messages and on displays. */
  readonly wallClock: () => number;
  /** Default: `peers`. */
  readonly paths?: PathRule;
}

/**
 * WireGuard's control plane for one interface, sans-I/O: handshakes, sessions, timers, cookies.
 *
 * Contract. Call `handleDatagram` for every handshake message and cookie reply, `handleTimeout` when
 * `nextTimeout()` comes, and `handleActivity` when the data path asks for it; after each, and after configuration, take
 * all of `poll()` and ask `nextTimeout()` again. `now` is in milliseconds (fractions welcome), never 0, of a clock
 * that counts suspended time and never goes back.
 *
 * Packets do not pass through here. A data path seals and opens them under the keypairs that events hand to it, and
 * writes what happened into the peer's row (`ACTIVITY`), by `noteSent`, `noteReceived`, `askForHandshake` and
 * `noteConfirmed`; when one of these says so, it has the control plane call `handleActivity`. `DataPath` is a readable one.
 *
 * Bytes from strangers are counted in `drops`, never thrown; configuration throws `LametunError`.
 */
export class WireGuardMachine {
  readonly drops = new DropCounters(DROP);
  readonly #host;
  readonly #events = new EventQueue<MachineEvent<Peer>>();
  readonly #peers = new Map<string, Peer>();
  readonly #byIndex = new Map<ReceiverIndex, Peer>();
  readonly #unprepared = new Set<Peer>();
  readonly #deadlines = new Deadlines<Peer>();
  readonly #rateLimiter = new RateLimiter();
  #checker: CookieChecker | undefined;
  #underLoadUntil = -Infinity;
  #isUp = false;

  constructor(options: MachineOptions) {
    this.#host = {
      crypto: options.crypto,
      wallClock: options.wallClock,
      followsPeers: options.paths !== 'owner',
      timestamps: new TimestampSource(),
      privateKey: undefined as PrivateKey | undefined,
      emit: (event: MachineEvent<Peer>) => this.#events.push(event),
      allocateIndex: (peer: Peer) => this.#allocateIndex(peer),
      releaseIndex: (index: ReceiverIndex) => void this.#byIndex.delete(index),
    };
  }

  /** The next event; undefined when there is none. */
  poll(): MachineEvent<Peer> | undefined {
    return this.#events.poll();
  }

  /** When to call `handleTimeout`; Infinity when there is nothing to wait for. */
  nextTimeout(): number {
    return this.#deadlines.next();
  }

  /**
   * @param limit the most peers to handle: thousands can be due at once, and each may cost a DH. While any is left,
   *   `nextTimeout()` is in the past.
   */
  handleTimeout(now: number, limit = Infinity): void {
    for (let i = 0; i < limit; i++) {
      const peer = this.#deadlines.due(now);
      if (!peer) return;
      this.handleActivity(peer, now);
    }
  }

  /** Reads what the data path wrote about a peer, and does what is due. */
  handleActivity(peer: Peer, now: number): void {
    if (this.#isUp && !peer.isRemoved) peer.handleActivity(now);
    this.#settle(peer);
  }

  /** An authentic packet came from another address: handshake messages go there too, [W] 2.1. */
  handleRoaming(peer: Peer, endpoint: PeerEndpoint): void {
    peer.endpoint = endpoint; // and no event: the data path knows
  }

  /**
   * Handles a datagram that is not transport data. A bad one is counted, and changes nothing else.
   *
   * @param queued how many more are waiting: many mean that we are under load
   */
  handleDatagram(datagram: Uint8Array, from: PeerEndpoint, now: number, queued: number): void {
    const reason = this.#handle(datagram, from, now, queued);
    if (reason !== undefined) this.drops.count(reason);
  }

  #handle(datagram: Uint8Array, from: PeerEndpoint, now: number, queued: number): Drop | undefined {
    if (!this.#isUp) return 'down';
    const view = viewOf(datagram);
    switch (messageType(view, 0, datagram.length)) {
      case MESSAGE_TYPE.initiation:
        return (
          this.#refusal(datagram, view.getUint32(INITIATION.sender, true), from, now, queued) ??
          this.#handleInitiation(datagram, from, now)
        );
      case MESSAGE_TYPE.response:
        return (
          this.#refusal(datagram, view.getUint32(RESPONSE.sender, true), from, now, queued) ??
          this.#toPeer(view.getUint32(RESPONSE.receiver, true) as ReceiverIndex, (peer) =>
            peer.handleResponse(datagram, from, now),
          )
        );
      case MESSAGE_TYPE.cookieReply:
        return this.#toPeer(view.getUint32(COOKIE_REPLY.receiver, true) as ReceiverIndex, (peer) =>
          peer.handleCookieReply(datagram, now),
        );
      case MESSAGE_TYPE.transport:
        return 'unknown-index'; // the data path, which knows all indices, should have taken it
      default:
        return 'malformed';
    }
  }

  /** [W] 5.3: the checks before any expensive cryptography, cheapest first. */
  #refusal(
    datagram: Uint8Array,
    sender: number,
    from: PeerEndpoint,
    now: number,
    queued: number,
  ): Drop | undefined {
    if (!this.#checker?.hasMac1(datagram)) return 'bad-mac1';
    if (queued >= UNDER_LOAD_QUEUE) this.#underLoadUntil = now + UNDER_LOAD_TIME;
    if (now >= this.#underLoadUntil) return undefined;
    if (!this.#checker.hasMac2(datagram, from.bytes, now)) {
      const reply = this.#checker.reply(datagram, sender, from.bytes, now);
      this.#host.emit({ kind: 'datagram', to: from, bytes: reply });
      return 'cookie-sent';
    }
    return this.#rateLimiter.allows(from.bytes, now) ? undefined : 'rate-limited';
  }

  #handleInitiation(datagram: Uint8Array, from: PeerEndpoint, now: number): Drop | undefined {
    const { crypto, privateKey } = this.#host;
    if (!privateKey) return 'down';
    const claimed = openStatic(crypto, privateKey, datagram.subarray(INITIATION.ephemeral, INITIATION.mac1));
    if (!claimed) return 'bad-handshake';
    const peer = this.#peers.get(mapKey(claimed.initiator));
    const reason = peer ? peer.handleInitiation(claimed, datagram, from, now) : 'unknown-peer';
    claimed.transcript.erase();
    if (peer) this.#settle(peer);
    return reason;
  }

  #toPeer(index: ReceiverIndex, handle: (peer: Peer) => Drop | undefined): Drop | undefined {
    const peer = this.#byIndex.get(index);
    if (!peer) return 'unknown-index';
    const reason = handle(peer);
    this.#settle(peer);
    return reason;
  }

  // Configuration.

  get isUp(): boolean {
    return this.#isUp;
  }

  get publicKey(): PublicKey | undefined {
    return this.#host.privateKey?.publicKey;
  }

  get peers(): IterableIterator<Peer> {
    return this.#peers.values();
  }

  peer(publicKey: Uint8Array): Peer | undefined {
    return this.#peers.get(mapKey(publicKey));
  }

  /** The interface comes up: peers with a persistent keepalive get one. */
  up(now: number): void {
    if (this.#isUp) return;
    this.#isUp = true;
    for (const peer of this.#peers.values()) {
      if (peer.persistentKeepalive > 0) peer.keepalive(now);
      this.#settle(peer);
    }
  }

  /** The interface goes down: all sessions end, and nothing is answered. */
  down(now: number): void {
    if (!this.#isUp) return;
    this.#isUp = false;
    for (const peer of this.#peers.values()) {
      peer.stop(now);
      this.#settle(peer);
    }
    this.#checker?.erase();
  }

  /**
   * Sets the private key, which the machine then owns, or removes it. All sessions end. A peer with our own public key
   * is removed: it could not be told from us.
   */
  setPrivateKey(key: PrivateKey | undefined, now: number): void {
    const { crypto } = this.#host;
    const own = key && this.#peers.get(mapKey(key.publicKey.bytes));
    if (own) this.removePeer(own, now);
    this.#host.privateKey?.destroy();
    this.#host.privateKey = key;
    this.#checker?.erase();
    this.#checker = key && new CookieChecker(crypto, key.publicKey.bytes);
    for (const peer of this.#peers.values()) {
      peer.forgetPrivateKey();
      this.#unprepared.add(peer);
      this.#settle(peer);
    }
  }

  /**
   * @param id the caller's number for the peer
   * @param row has the peer's `ACTIVITY` from `at` on; shared memory if the data path is another thread
   * @throws LametunError `usage` for a public key that exists already, or is our own; then nothing has changed
   */
  addPeer(
    publicKey: Uint8Array,
    id: PeerNumber,
    row: Float64Array = new Float64Array(ACTIVITY.words),
    at = 0,
  ): Peer {
    const key = mapKey(publicKey);
    if (publicKey.length !== 32) throw new LametunError('usage', 'a public key has 32 bytes');
    if (this.#peers.has(key)) throw new LametunError('usage', 'the peer exists already');
    if (this.publicKey && mapKey(this.publicKey.bytes) === key)
      throw new LametunError('usage', "a peer cannot have the device's own public key");
    resetActivity(row, at);
    const peer = new Peer(this.#host, this.#host.crypto.publicKey(publicKey), id, row, at);
    this.#peers.set(key, peer);
    this.#unprepared.add(peer);
    return peer;
  }

  /** Ends its sessions and forgets it. Its row may be used again when the events have been polled. */
  removePeer(peer: Peer, now: number): void {
    peer.destroy(now);
    this.#peers.delete(mapKey(peer.publicKey.bytes));
    this.#deadlines.delete(peer);
    this.#unprepared.delete(peer);
    if (peer.timestamps.isAhead(this.#host.timestamps)) this.#host.timestamps = peer.timestamps;
  }

  /**
   * Does part of the work of first handshakes in advance. Call it when idle: a device with thousands of peers hears from
   * all of them at once after a restart.
   *
   * @param peers how many at most
   * @returns whether there are more
   */
  prepare(peers: number): boolean {
    let left = peers;
    for (const peer of this.#host.privateKey ? this.#unprepared : []) {
      if (left-- === 0) return true;
      this.#unprepared.delete(peer);
      peer.prepare();
    }
    return false;
  }

  /** @param key 32 bytes, which are copied; undefined for none */
  setPresharedKey(peer: Peer, key: Uint8Array | undefined): void {
    peer.setPresharedKey(key);
  }

  setEndpoint(peer: Peer, endpoint: PeerEndpoint): void {
    peer.setEndpoint(endpoint);
  }

  /** Greets a peer: with a keepalive if there is a session, else with a handshake. */
  greet(peer: Peer, now: number): void {
    if (this.#isUp && !peer.isRemoved) peer.keepalive(now);
    this.#settle(peer);
  }

  /**
   * A path to a peer has opened. An initiation that was not answered may be lost: it is sent again now, before its timer
   * is due.
   */
  retryHandshake(peer: Peer, now: number): void {
    if (!this.#isUp) return;
    peer.retryHandshake(now);
    this.#settle(peer);
  }

  /** @param interval milliseconds; 0 turns it off */
  setPersistentKeepalive(peer: Peer, interval: number, now: number): void {
    const wasOff = peer.setPersistentKeepalive(interval, now);
    if (wasOff && interval > 0 && this.#isUp) peer.keepalive(now);
    this.#settle(peer);
  }

  /** Sets the peer's next deadline, and tells the data path. */
  #settle(peer: Peer): void {
    const next = this.#isUp && !peer.isRemoved ? peer.nextTimeout() : Infinity;
    this.#deadlines.set(peer, next);
    peer.announceWakeUp(next);
  }

  /** [W] 5.4.2: an index is random, so that it tells strangers nothing. 0 is never used: it means none. */
  #allocateIndex(peer: Peer): ReceiverIndex {
    const bytes = new Uint8Array(4);
    for (;;) {
      this.#host.crypto.random(bytes);
      const index = viewOf(bytes).getUint32(0, true) as ReceiverIndex;
      if (index === NO_INDEX || this.#byIndex.has(index)) continue;
      this.#byIndex.set(index, peer);
      return index;
    }
  }
}

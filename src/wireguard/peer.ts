import { TokenBucket } from '../token-bucket.js';
import { ACTIVITY } from './activity.js';
import { INITIATION_INTERVAL, REKEY_ATTEMPT_TIME, REKEY_TIMEOUT } from './constants.js';
import { CookieHolder } from './cookie.js';
import {
  type Crypto,
  EMPTY,
  NO_PRESHARED_KEY,
  type PrivateKey,
  type PublicKey,
  randomFraction,
  secretBytes,
} from './crypto.js';
import type { Deadlined } from './deadlines.js';
import type { Drop } from './drops.js';
import type { MachineEvent, PeerEndpoint } from './events.js';
import { type Keypair, Keypairs, makeKeypair } from './keypair.js';
import { erase, INITIATION, MESSAGE_TYPE, RESPONSE, viewOf } from './messages.js';
import {
  type ClaimedInitiation,
  createInitiation,
  createResponse,
  openPayload,
  openResponse,
  type Transcript,
} from './noise.js';
import { NO_INDEX, type PeerNumber, type ReceiverIndex } from './numbers.js';
import { isAfter, OWN_INITIATIONS, TAI64N, TimestampSource } from './tai64n.js';
import { type TimerName, Timers } from './timers.js';

/** What a peer needs of its device. */
export interface PeerHost {
  readonly crypto: Crypto;
  /** The newest timestamp sent to any removed peer: the peer may be added again, and has seen it. */
  readonly timestamps: TimestampSource;
  /** Milliseconds since 1970. */
  readonly wallClock: () => number;
  /** Our private key; undefined while none is set. */
  readonly privateKey: PrivateKey | undefined;
  /** Whether authentic messages set the peer's endpoint: `PathRule`. */
  readonly followsPeers: boolean;
  emit(event: MachineEvent<Peer>): void;
  /** A fresh receiver index. It leads to this peer until it is released. */
  allocateIndex(peer: Peer): ReceiverIndex;
  releaseIndex(index: ReceiverIndex): void;
}

/** Our initiation that may still be answered. */
interface PendingInitiation {
  readonly transcript: Transcript;
  readonly ephemeral: PrivateKey;
  readonly localIndex: ReceiverIndex;
}

/**
 * The protocol with one peer: handshakes in both roles, its keypairs and timers. Its contract is the device's
 * (see `WireGuardMachine`), which calls all methods here and settles `nextTimeout` after each.
 */
export class Peer implements Deadlined {
  deadline = Infinity;
  heapIndex = -1;
  /** Removed from the configuration. Events about it may still be on their way. */
  isRemoved = false;

  readonly publicKey: PublicKey;
  readonly id: PeerNumber;
  endpoint: PeerEndpoint | undefined;
  /** Start of the last session, milliseconds since 1970; 0 for none. */
  lastHandshake = 0;
  /** The same by the clock that is never set, to compute its age. */
  sessionBegan = 0;
  /** Bytes of handshake messages. The data path counts those of packets. */
  readonly handshakeBytes = { sent: 0, received: 0 };

  /** Makes the timestamps of our initiations. */
  readonly timestamps: TimestampSource;

  readonly #host: PeerHost;
  readonly #row: Float64Array;
  readonly #at: number;
  readonly #timers: Timers;
  readonly #keypairs = new Keypairs();
  #presharedKey: Uint8Array = NO_PRESHARED_KEY as Uint8Array;
  #staticStatic: Uint8Array | undefined;
  #cookies: CookieHolder | undefined;
  #pending: PendingInitiation | undefined;
  #attemptSince = 0;
  #lastInitiationSent = -Infinity;
  readonly #limit = new TokenBucket(OWN_INITIATIONS);
  #lastInitiationReceived = -Infinity;
  readonly #lastTimestamp = new Uint8Array(TAI64N.length);
  #lastAskSeen = 0;
  /** When the current keypair became current. */
  #usableSince = 0;

  constructor(host: PeerHost, publicKey: PublicKey, id: PeerNumber, row: Float64Array, at: number) {
    this.#host = host;
    this.timestamps = new TimestampSource(host.timestamps);
    this.publicKey = publicKey;
    this.id = id;
    this.#row = row;
    this.#at = at;
    this.#timers = new Timers(row, at, () => randomFraction(host.crypto));
  }

  get presharedKey(): Readonly<Uint8Array> {
    return this.#presharedKey;
  }

  get persistentKeepalive(): number {
    return this.#timers.persistentInterval;
  }

  nextTimeout(): number {
    return this.#timers.nextTimeout();
  }

  /** Reads what the data path left in the row, and does what is due. */
  handleActivity(now: number): void {
    this.#confirm(this.#row[this.#at + ACTIVITY.confirmed]! as ReceiverIndex, now);
    for (let due = this.#timers.expire(now); due; due = this.#timers.expire(now))
      Peer.#expired[due](this, now);
    const asked = this.#row[this.#at + ACTIVITY.asked]!;
    if (asked <= this.#lastAskSeen) return;
    this.#lastAskSeen = asked;
    // A request that crossed with the end of a handshake is answered already.
    if (!this.#keypairs.current || asked > this.#usableSince) this.#initiate(now, 'new');
  }

  /** [W] 6: what is done when a timer is due. */
  static readonly #expired: Readonly<Record<TimerName, (peer: Peer, now: number) => void>> = {
    retransmitInitiation: (peer, now) => peer.#retry(now),
    sendKeepalive: (peer, now) => peer.keepalive(now),
    newHandshake: (peer, now) => peer.#initiateElsewhere(now, 'new'),
    persistentKeepalive: (peer, now) => peer.keepalive(now),
    eraseKeys: (peer) => peer.#eraseSessions(), // a handshake under way ends by itself
  };

  /** Sends an empty packet. Without a session it makes one, which an empty packet confirms. */
  keepalive(now: number): void {
    const { current } = this.#keypairs;
    if (current && now < current.rejectAt) this.#host.emit({ kind: 'keepalive', peer: this });
    else this.#initiate(now, 'new');
  }

  setPresharedKey(key: Uint8Array | undefined): void {
    if (this.#presharedKey !== NO_PRESHARED_KEY) erase(this.#presharedKey);
    this.#presharedKey = key ? secretBytes() : (NO_PRESHARED_KEY as Uint8Array);
    if (key) this.#presharedKey.set(key);
  }

  /** @returns whether it was off before */
  setPersistentKeepalive(interval: number, now: number): boolean {
    const wasOff = this.#timers.persistentInterval === 0;
    this.#timers.persistentInterval = interval;
    this.#timers.on('persistentKeepaliveSet', now);
    return wasOff;
  }

  setEndpoint(endpoint: PeerEndpoint): void {
    if (this.endpoint?.equals(endpoint)) return;
    this.endpoint = endpoint;
    this.#host.emit({ kind: 'endpoint', peer: this, endpoint });
  }

  /** Sends an unanswered initiation again. */
  retryHandshake(now: number): void {
    if (!this.#pending) return;
    this.#mayInitiateAtOnce();
    this.#initiate(now, 'retry');
  }

  /** Ends sessions and timers. What must outlast them stays, above all the newest timestamp. */
  stop(now: number): void {
    this.#timers.stop(now);
    this.#dropPending();
    this.#eraseSessions();
    this.#mayInitiateAtOnce();
    this.#host.emit({ kind: 'discard-queue', peer: this });
  }

  /** Our private key changed: drops everything made with the old one. */
  forgetPrivateKey(): void {
    this.#dropPending();
    this.#eraseSessions();
    erase(this.#staticStatic);
    this.#staticStatic = undefined;
    this.#mayInitiateAtOnce();
  }

  /** The peer is removed. */
  destroy(now: number): void {
    this.stop(now);
    this.forgetPrivateKey();
    this.setPresharedKey(undefined);
    this.isRemoved = true;
  }

  /** Writes `ACTIVITY.wakeUpAt`; the device calls it when it has noted the deadline. */
  announceWakeUp(at: number): void {
    this.#row[this.#at + ACTIVITY.wakeUpAt] = at;
  }

  /** Sends `-> e, es, s, ss, {t}`; if one was sent within REKEY_TIMEOUT ([W] 6.1), later. */
  #initiate(now: number, attempt: 'new' | 'retry'): void {
    const { crypto, privateKey, wallClock } = this.#host;
    if (attempt === 'new') this.#attemptSince = now;
    if (!this.endpoint) return; // the data path knows, and does not ask
    if (now - this.#lastInitiationSent < REKEY_TIMEOUT) {
      this.#timers.on('initiationHeldBack', this.#lastInitiationSent);
      return;
    }
    const wait = this.#limit.wait(now);
    if (wait > 0) {
      this.#timers.on('initiationHeldBack', now + wait + 1 - REKEY_TIMEOUT - this.#timers.jitter); // due 1 ms later
      return;
    }
    this.#row[this.#at + ACTIVITY.askAgainAt] = now + REKEY_TIMEOUT;
    const staticStatic = privateKey && this.#sharedSecret(privateKey);
    if (!staticStatic) return;
    this.#dropPending();

    const message = new Uint8Array(INITIATION.length);
    const ephemeral = crypto.generate();
    const timestamp = this.timestamps.next(wallClock());
    const noise = message.subarray(INITIATION.ephemeral, INITIATION.mac1);
    const transcript = createInitiation(
      crypto,
      privateKey.publicKey,
      ephemeral,
      this.publicKey,
      staticStatic,
      timestamp,
      noise,
    );
    if (!transcript) {
      ephemeral.destroy();
      return;
    }
    const localIndex = this.#host.allocateIndex(this);
    this.#pending = { transcript, ephemeral, localIndex };
    const view = viewOf(message);
    view.setUint32(0, MESSAGE_TYPE.initiation, true);
    view.setUint32(INITIATION.sender, localIndex, true);
    this.#send(message, this.endpoint, now);
    this.#lastInitiationSent = now;
    this.#limit.spend(now);
    this.#timers.on('initiationSent', now);
  }

  /**
   * Reads the rest of an initiation with this peer's static key, and answers with `<- e, ee, se, psk, {}`. An initiation
   * of our own stays valid: see `Keypairs` for what happens to both.
   *
   * @returns why it is dropped; undefined when it was answered
   */
  handleInitiation(
    claimed: ClaimedInitiation,
    message: Uint8Array,
    from: PeerEndpoint,
    now: number,
  ): Drop | undefined {
    const { crypto, privateKey } = this.#host;
    const staticStatic = privateKey && this.#sharedSecret(privateKey);
    const timestamp = new Uint8Array(TAI64N.length);
    const noise = message.subarray(INITIATION.ephemeral, INITIATION.mac1);
    if (!staticStatic || !openPayload(claimed, staticStatic, noise, timestamp)) return 'bad-handshake';
    if (!isAfter(timestamp, this.#lastTimestamp)) return 'old-timestamp';
    if (now - this.#lastInitiationReceived < INITIATION_INTERVAL) return 'flooding';

    const response = new Uint8Array(RESPONSE.length);
    const ephemeral = crypto.generate();
    const answered = createResponse(
      claimed,
      ephemeral,
      this.publicKey,
      this.#presharedKey,
      EMPTY,
      response.subarray(RESPONSE.ephemeral, RESPONSE.mac1),
    );
    ephemeral.destroy();
    if (!answered) return 'bad-handshake';
    this.#lastTimestamp.set(timestamp);
    this.#lastInitiationReceived = now;
    this.handshakeBytes.received += message.length;
    this.#timers.on('authenticatedReceived', now);
    if (this.#host.followsPeers) this.setEndpoint(from);

    const remoteIndex = viewOf(message).getUint32(INITIATION.sender, true) as ReceiverIndex;
    const localIndex = this.#host.allocateIndex(this);
    const view = viewOf(response);
    view.setUint32(0, MESSAGE_TYPE.response, true);
    view.setUint32(RESPONSE.sender, localIndex, true);
    view.setUint32(RESPONSE.receiver, remoteIndex, true);
    this.#begin(makeKeypair(localIndex, remoteIndex, false, now), claimed.transcript, now);
    this.#send(response, from, now);
    this.#timers.on('responseSent', now);
    return undefined;
  }

  /** A response to our initiation. @returns why it is dropped; undefined when there is a new session */
  handleResponse(message: Uint8Array, from: PeerEndpoint, now: number): Drop | undefined {
    const { crypto, privateKey } = this.#host;
    const pending = this.#pending;
    const view = viewOf(message);
    if (!pending || !privateKey || view.getUint32(RESPONSE.receiver, true) !== pending.localIndex)
      return 'unknown-index';
    const noise = message.subarray(RESPONSE.ephemeral, RESPONSE.mac1);
    const transcript = pending.transcript.copy();
    if (!openResponse(crypto, transcript, privateKey, pending.ephemeral, this.#presharedKey, noise, EMPTY)) {
      transcript.erase();
      return 'bad-handshake';
    }
    this.#pending = undefined; // its index lives on as the keypair's
    pending.transcript.erase();
    pending.ephemeral.destroy();
    this.handshakeBytes.received += message.length;
    this.#timers.on('authenticatedReceived', now);
    this.#timers.on('handshakeComplete', now);
    if (this.#host.followsPeers) this.setEndpoint(from);

    const keypair = makeKeypair(
      pending.localIndex,
      view.getUint32(RESPONSE.sender, true) as ReceiverIndex,
      true,
      now,
    );
    this.#begin(keypair, transcript, now);
    this.#usableSince = now;
    // [W] 5.4.3: the responder may not send before a first packet comes: a keepalive, if nothing waits.
    this.#host.emit({ kind: 'use-keypair', peer: this, keypair, confirm: true });
    return undefined;
  }

  /** A cookie reply to our last handshake message. */
  handleCookieReply(message: Uint8Array, now: number): Drop | undefined {
    return this.#cookieHolder().open(message, now) ? undefined : 'bad-cookie';
  }

  #begin(keypair: Keypair, transcript: Transcript, now: number): void {
    const sendingKey = secretBytes();
    const receivingKey = secretBytes();
    transcript.split(sendingKey, receivingKey, keypair.initiator);
    transcript.erase();
    const dropped = this.#keypairs.begin(keypair);
    this.#host.emit({ kind: 'install-keypair', peer: this, keypair, sendingKey, receivingKey });
    this.#drop(dropped);
    this.#timers.on('sessionDerived', now);
    if (keypair.initiator) this.#noteHandshake(now);
  }

  #noteHandshake(now: number): void {
    this.lastHandshake = this.#host.wallClock();
    this.sessionBegan = now;
  }

  #confirm(localIndex: ReceiverIndex, now: number): void {
    if (localIndex === NO_INDEX) return;
    const dropped = this.#keypairs.confirm(localIndex, this.#isSenior());
    if (!dropped) return;
    this.#timers.on('authenticatedReceived', now);
    this.#noteHandshake(now);
    this.#usableSince = now;
    const { current } = this.#keypairs;
    if (current) this.#host.emit({ kind: 'use-keypair', peer: this, keypair: current, confirm: false });
    this.#drop(dropped);
    // The other side has a session with us, so our request is met, whichever side began.
    this.#timers.on('handshakeComplete', now);
    this.#dropPending();
  }

  /** An order of two peers that both compute alike. */
  #isSenior(): boolean {
    const ours = this.#host.privateKey?.publicKey.bytes ?? EMPTY;
    const theirs = this.publicKey.bytes;
    const at = ours.findIndex((byte, i) => byte !== theirs[i]);
    return at >= 0 && ours[at]! < theirs[at]!;
  }

  /** No answer came: our source address may be wrong by now. */
  #initiateElsewhere(now: number, attempt: 'new' | 'retry'): void {
    this.endpoint = this.endpoint?.withoutSource ?? this.endpoint;
    this.#host.emit({ kind: 'forget-source', peer: this });
    this.#initiate(now, attempt);
  }

  #mayInitiateAtOnce(): void {
    this.#lastInitiationSent = -Infinity;
    this.#row[this.#at + ACTIVITY.askAgainAt] = 0;
  }

  #retry(now: number): void {
    if (now - this.#attemptSince < REKEY_ATTEMPT_TIME) {
      this.#initiateElsewhere(now, 'retry');
      return;
    }
    this.#dropPending();
    this.#timers.on('handshakeGivenUp', now);
    this.#host.emit({ kind: 'discard-queue', peer: this });
  }

  #eraseSessions(): void {
    if (this.#keypairs.current) {
      this.#host.emit({ kind: 'use-keypair', peer: this, keypair: undefined, confirm: false });
    }
    this.#drop(this.#keypairs.clear());
    this.#cookies?.erase();
  }

  #drop(keypairs: readonly Keypair[]): void {
    for (const { localIndex } of keypairs) {
      this.#host.releaseIndex(localIndex);
      this.#host.emit({ kind: 'drop-keypair', peer: this, localIndex });
    }
  }

  #dropPending(): void {
    const pending = this.#pending;
    if (!pending) return;
    this.#pending = undefined;
    this.#host.releaseIndex(pending.localIndex);
    pending.transcript.erase();
    pending.ephemeral.destroy();
  }

  #send(message: Uint8Array, to: PeerEndpoint, now: number): void {
    this.#cookieHolder().seal(message, now);
    this.handshakeBytes.sent += message.length;
    this.#host.emit({ kind: 'datagram', peer: this, to, bytes: message });
  }

  /** Does part of the first handshake's work in advance. */
  prepare(): void {
    const { privateKey } = this.#host;
    if (privateKey && !this.isRemoved) this.#sharedSecret(privateKey);
  }

  /** DH(S_priv, S_pub): the same in all handshakes, and a third of a responder's work in each. */
  #sharedSecret(privateKey: PrivateKey): Uint8Array | undefined {
    if (this.#staticStatic) return this.#staticStatic;
    const secret = secretBytes();
    if (!this.#host.crypto.dh(privateKey, this.publicKey, secret)) return undefined;
    this.#staticStatic = secret;
    return secret;
  }

  #cookieHolder(): CookieHolder {
    this.#cookies ??= new CookieHolder(this.#host.crypto, this.publicKey.bytes);
    return this.#cookies;
  }
}

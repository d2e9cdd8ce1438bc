import { COOKIE_LATENCY, COOKIE_LIFETIME } from './constants.js';
import { ascii, type Crypto, LENGTH, secretBytes } from './crypto.js';
import { COOKIE_REPLY, erase, MESSAGE_TYPE, viewOf } from './messages.js';

/** [W] 5.4: hashed with the receiver's public key, these make the keys of mac1 and of cookie replies. */
const LABEL_MAC1 = ascii('mac1----');
const LABEL_COOKIE = ascii('cookie--');

/** The macs are the last 32 bytes of an initiation and of a response, [W] 5.4.4. */
const mac1At = (message: Uint8Array): number => message.length - 2 * LENGTH.mac;
const mac2At = (message: Uint8Array): number => message.length - LENGTH.mac;

function hashed(crypto: Crypto, label: Uint8Array, publicKey: Uint8Array): Uint8Array {
  const key = new Uint8Array(LENGTH.key);
  crypto.hash(label, publicKey, key);
  return key;
}

/**
 * The receiving side of [W] 5.3 and 5.4.7: checks mac1 and mac2, and hands out cookies. It keeps no state per sender:
 * a cookie is a mac of the sender's address and port under a secret that lives two minutes.
 */
export class CookieChecker {
  readonly #crypto: Crypto;
  readonly #mac1Key: Uint8Array;
  readonly #cookieKey: Uint8Array;
  readonly #secret = secretBytes();
  #secretSince = -Infinity;
  readonly #mac = new Uint8Array(LENGTH.mac);

  /** @param publicKey ours */
  constructor(crypto: Crypto, publicKey: Uint8Array) {
    this.#crypto = crypto;
    this.#mac1Key = hashed(crypto, LABEL_MAC1, publicKey);
    this.#cookieKey = hashed(crypto, LABEL_COOKIE, publicKey);
  }

  /** Whether the sender of a handshake message knows our public key. */
  hasMac1(message: Uint8Array): boolean {
    const at = mac1At(message);
    this.#crypto.mac(this.#mac1Key, message.subarray(0, at), this.#mac);
    return this.#crypto.equal(this.#mac, message.subarray(at, at + LENGTH.mac));
  }

  /**
   * Whether the sender of a handshake message has a fresh cookie from us, for the address it now sends from.
   *
   * @param source the sender's address and port
   */
  hasMac2(message: Uint8Array, source: Uint8Array, now: number): boolean {
    if (now - this.#secretSince >= COOKIE_LIFETIME) return false;
    const at = mac2At(message);
    const cookie = this.#cookie(source);
    this.#crypto.mac(cookie, message.subarray(0, at), this.#mac);
    return this.#crypto.equal(this.#mac, message.subarray(at));
  }

  /**
   * Writes a cookie reply, [W] 5.4.7, to a handshake message with a valid mac1.
   *
   * @param sender the sender index of that message
   */
  reply(message: Uint8Array, sender: number, source: Uint8Array, now: number): Uint8Array {
    if (now - this.#secretSince >= COOKIE_LIFETIME) {
      this.#crypto.random(this.#secret);
      this.#secretSince = now;
    }
    const reply = new Uint8Array(COOKIE_REPLY.length);
    const view = viewOf(reply);
    view.setUint32(0, MESSAGE_TYPE.cookieReply, true);
    view.setUint32(COOKIE_REPLY.receiver, sender, true);
    const nonce = reply.subarray(COOKIE_REPLY.nonce, COOKIE_REPLY.cookie);
    this.#crypto.random(nonce);
    const mac1 = message.subarray(mac1At(message), mac2At(message));
    this.#crypto.xseal(
      this.#cookieKey,
      nonce,
      this.#cookie(source),
      mac1,
      reply.subarray(COOKIE_REPLY.cookie),
    );
    return reply;
  }

  erase(): void {
    erase(this.#secret);
    this.#secretSince = -Infinity;
  }

  #cookie(source: Uint8Array): Uint8Array {
    const cookie = new Uint8Array(LENGTH.cookie);
    this.#crypto.mac(this.#secret, source, cookie);
    return cookie;
  }
}

/** The sending side of [W] 5.4.4: puts macs on handshake messages to one peer, and keeps the cookie it sent us. */
export class CookieHolder {
  readonly #crypto: Crypto;
  readonly #publicKey: Uint8Array;
  readonly #mac1Key: Uint8Array;
  readonly #lastMac1 = new Uint8Array(LENGTH.mac);
  #awaitsReply = false;
  /** Allocated for the first cookie: most peers never send one. */
  #cookie: Uint8Array | undefined;
  #cookieSince = -Infinity;

  /** @param publicKey the peer's */
  constructor(crypto: Crypto, publicKey: Uint8Array) {
    this.#crypto = crypto;
    this.#publicKey = publicKey;
    this.#mac1Key = hashed(crypto, LABEL_MAC1, publicKey);
  }

  /** Writes mac1, and mac2 if there is a fresh cookie, to the end of a handshake message. */
  seal(message: Uint8Array, now: number): void {
    const at = mac1At(message);
    const mac1 = message.subarray(at, at + LENGTH.mac);
    this.#crypto.mac(this.#mac1Key, message.subarray(0, at), mac1);
    this.#lastMac1.set(mac1);
    this.#awaitsReply = true;
    const mac2 = message.subarray(mac2At(message));
    if (this.#cookie && now - this.#cookieSince < COOKIE_LIFETIME - COOKIE_LATENCY) {
      this.#crypto.mac(this.#cookie, message.subarray(0, mac2At(message)), mac2);
    } else {
      mac2.fill(0);
    }
  }

  /**
   * Takes a cookie reply, [W] 5.4.7. It must answer the last message that we sent: mac1 is its additional data.
   * The cookie serves the next message; nothing is sent at once ([W] 6.6).
   *
   * @returns whether it was genuine
   */
  open(reply: Uint8Array, now: number): boolean {
    if (!this.#awaitsReply) return false;
    const nonce = reply.subarray(COOKIE_REPLY.nonce, COOKIE_REPLY.cookie);
    const cookie = secretBytes(LENGTH.cookie);
    const sealed = reply.subarray(COOKIE_REPLY.cookie);
    const key = hashed(this.#crypto, LABEL_COOKIE, this.#publicKey);
    if (!this.#crypto.xopen(key, nonce, sealed, this.#lastMac1, cookie)) return false;
    erase(this.#cookie);
    this.#cookie = cookie;
    this.#cookieSince = now;
    this.#awaitsReply = false;
    return true;
  }

  erase(): void {
    erase(this.#cookie, this.#lastMac1);
    this.#cookieSince = -Infinity;
    this.#awaitsReply = false;
  }
}

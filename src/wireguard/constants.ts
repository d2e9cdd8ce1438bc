/**
 * The numbers of [W], "WireGuard: Next Generation Kernel Network Tunnel", in milliseconds and messages.
 */

/** [W] 6.1. An initiator makes a new session when it sends under one this old. */
export const REKEY_AFTER_TIME = 120_000;
/** [W] 6.1. Nothing is sent or accepted under a session this old. */
export const REJECT_AFTER_TIME = 180_000;
/** [W] 6.1. An unanswered handshake is retried for this long. */
export const REKEY_ATTEMPT_TIME = 90_000;
/** [W] 6.1. The pause between two initiations; `JITTER` comes on top when retrying. */
export const REKEY_TIMEOUT = 5_000;
/** [W] 6.5. Received data without an answer gets a keepalive after this long. */
export const KEEPALIVE_TIMEOUT = 10_000;
/** The most that is added to a retry, so that two peers do not stay in step ([W] 6.1). */
export const JITTER = 333;
/** [W] 6.3. With no new session for this long, all key material is erased. */
export const ERASE_AFTER_TIME = 3 * REJECT_AFTER_TIME;
/** [W] 6.2. An initiator that still receives under a session this old makes a new one before it dies. */
export const REKEY_AFTER_TIME_RECEIVING = REJECT_AFTER_TIME - KEEPALIVE_TIMEOUT - REKEY_TIMEOUT;

/**
 * Counters are doubles here, exact below 2^53. [W] 6.1 allows 2^60 and 2^64 - 2^13 - 1. No peer can tell the difference: at
 * a hundred million packets a second REKEY_AFTER_MESSAGES is a month away, and REKEY_AFTER_TIME two minutes.
 */
export const REKEY_AFTER_MESSAGES = 2 ** 48;
/** We never send a counter as large as this. */
export const REJECT_AFTER_MESSAGES = 2 ** 53 - 2 ** 13 - 1;
/** Received counters from here on are dropped: a double could not tell them apart. */
export const COUNTER_LIMIT = 2 ** 53;

/** [W] 5.4.7. Both the cookie secret and a cookie in use live this long. */
export const COOKIE_LIFETIME = 120_000;
/** A cookie is given up this much early, so that it is not stale when it arrives. */
export const COOKIE_LATENCY = 5_000;
/** At most one initiation per peer is accepted in this time (wireguard-go: 50 a second). */
export const INITIATION_INTERVAL = 20;

/** [W] 5.4.6. Plaintext is padded to a multiple of this. */
export const PADDING = 16;

import { isIpv4Mapped } from '../../ip/address.js';
import type { Endpoint } from '../../linux/socket-address.js';
import { BIND_INTERVAL, decodeControl, encodeControl, RELAY_KIND } from '../../wire/relay.js';
import type { Crypto } from '../../wireguard/crypto.js';

export type BindingEvent =
  /** To the relay's UDP address, by the device's socket. */
  | { readonly kind: 'send'; readonly bytes: Uint8Array }
  /** UDP passes both ways. `seen` is where the relay sees us. Comes again when that has changed. */
  | { readonly kind: 'bound'; readonly seen: Endpoint }
  /** It did not pass at the beginning: the try goes on, but rarely. */
  | { readonly kind: 'unanswered' }
  /** It has passed, and does not any more. */
  | { readonly kind: 'lost' };

/** After how long to ask again when there is no answer, at first and later; milliseconds. */
const FIRST_TRIES = [250, 500, 1_000, 2_000] as const;
const RETRY = 1_000;
/** The same where packets go out and none come back: three times what an answer takes, and at least that. */
const QUICK_RETRY = 400;
/** An answer that is no older still says that UDP passes. */
const FRESH = 1_000;
/** So many unanswered in a row, and UDP does not pass. */
const TRIES = 3;
/** From one bind to the next while packets go through the relay: what goes wrong is soon seen. */
const BUSY_INTERVAL = 5_000;

/**
 * Binds a UDP socket to the relay, and notices when UDP stops passing. Sans-I/O.
 *
 * Contract. After every call take all of `poll()`, and call `handleTimeout` when `nextTimeout()` comes. `now` is in
 * milliseconds, of a clock that never goes back.
 */
export class RelayBinding {
  readonly #crypto: Pick<Crypto, 'mac' | 'equal'>;
  readonly #session: Uint8Array;
  readonly #key: Uint8Array;
  readonly #events: BindingEvent[] = [];
  #state: 'new' | 'bound' | 'failing' = 'new';
  #sequence = 0;
  #cookie: Uint8Array | undefined;
  /** The last bind waits for its answer. */
  #waiting = false;
  #challenged = false;
  #unanswered = 0;
  #next: number;
  #boundAt = -Infinity;
  #sentAt = -Infinity;
  /** What the last answer took. */
  #rtt = 0;
  /** There is reason to think that UDP does not pass any more. */
  #isHurried = false;
  #seen = '';

  /** @param session 8 bytes @param key 32 bytes; of the credentials */
  constructor(crypto: Pick<Crypto, 'mac' | 'equal'>, session: Uint8Array, key: Uint8Array, now: number) {
    this.#crypto = crypto;
    this.#session = session;
    this.#key = key;
    this.#next = now;
  }

  get isBound(): boolean {
    return this.#state === 'bound';
  }

  poll(): BindingEvent | undefined {
    return this.#events.shift();
  }

  nextTimeout(): number {
    return this.#next;
  }

  handleTimeout(now: number): void {
    if (now < this.#next) return;
    if (this.#waiting) this.#miss();
    this.#challenged = false;
    this.#bind(now);
    if (this.#state === 'new')
      this.#next = now + FIRST_TRIES[Math.min(this.#unanswered, FIRST_TRIES.length - 1)]!;
    else if (this.#state === 'failing') this.#next = now + BIND_INTERVAL;
    else this.#next = now + this.#retry;
  }

  get #retry(): number {
    return this.#isHurried ? Math.min(RETRY, Math.max(QUICK_RETRY, 3 * this.#rtt)) : RETRY;
  }

  /** Packets go through the relay. */
  handleActivity(now: number): void {
    if (this.#state === 'bound' && !this.#waiting)
      this.#next = Math.min(this.#next, Math.max(now, this.#boundAt + BUSY_INTERVAL));
  }

  /** Packets go through the relay, and none come back: it may be UDP, or whom they go to. */
  handleSilence(now: number): void {
    if (this.#state !== 'bound' || this.#isHurried || now < this.#boundAt + FRESH) return;
    this.#isHurried = true;
    this.#next = Math.max(now, this.#waiting ? this.#sentAt + this.#retry : now);
  }

  /** The network of this machine has changed: the relay may see us elsewhere now. */
  rebind(now: number): void {
    this.#next = now;
  }

  /** What came from the relay's UDP address, or claims to. */
  handleControl(bytes: Uint8Array, now: number): void {
    const message = decodeControl(this.#crypto, this.#key, bytes);
    if (message === undefined || !this.#waiting || message.sequence !== this.#sequence) return;
    if (!this.#crypto.equal(message.session, this.#session)) return;
    if (message.kind === RELAY_KIND.challenge && !this.#challenged) {
      this.#cookie = message.cookie;
      this.#challenged = true; // once for a try: two who see us at two places would never stop
      this.#bind(now);
    } else if (message.kind === RELAY_KIND.bound) {
      this.#bound({ address: message.address, port: message.port }, now);
    }
  }

  #bound({ address, port }: Endpoint, now: number): void {
    const seen = { address: isIpv4Mapped(address) ? address.slice(12) : address, port };
    this.#waiting = false;
    this.#isHurried = false;
    this.#unanswered = 0;
    this.#boundAt = now;
    this.#rtt = now - this.#sentAt;
    this.#next = now + BIND_INTERVAL;
    const key = `${seen.address.join('.')}:${port}`;
    if (this.#state === 'bound' && key === this.#seen) return;
    this.#state = 'bound';
    this.#seen = key;
    this.#events.push({ kind: 'bound', seen });
  }

  #miss(): void {
    this.#unanswered += 1;
    if (this.#unanswered < TRIES) return;
    if (this.#state === 'bound') this.#events.push({ kind: 'lost' });
    else if (this.#state === 'new' && this.#unanswered === TRIES) this.#events.push({ kind: 'unanswered' });
    if (this.#state === 'bound' || this.#unanswered > FIRST_TRIES.length) this.#state = 'failing';
    if (this.#state === 'failing') this.#isHurried = false;
  }

  #bind(now: number): void {
    this.#sequence = Math.max(this.#sequence + 1, Math.floor(now));
    this.#waiting = true;
    this.#sentAt = now;
    this.#events.push({
      kind: 'send',
      bytes: encodeControl(this.#crypto, this.#key, {
        kind: RELAY_KIND.bind,
        session: this.#session,
        sequence: this.#sequence,
        ...(this.#cookie === undefined ? {} : { cookie: this.#cookie }),
      }),
    });
  }
}

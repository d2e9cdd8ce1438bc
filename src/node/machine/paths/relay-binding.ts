import { isIpv4Mapped } from '../../../ip/address.js';
import type { Endpoint } from '../../../ip/endpoint.js';
import { BIND_INTERVAL, decodeControl, encodeControl, RELAY_KIND } from '../../../protocol/relay.js';
import type { Crypto } from '../../../wireguard/crypto.js';
import { endpointKey } from './candidates.js';

export type BindingEvent =
  /** To the relay's UDP address, by the device's socket. */
  | { readonly kind: 'send'; readonly bytes: Uint8Array }
  /** UDP passes both ways, at full size. `seen` is where the relay sees us. Comes again when that has changed. */
  | { readonly kind: 'bound'; readonly seen: Endpoint }
  /** It did not pass at the beginning: the try goes on, but rarely. */
  | { readonly kind: 'unanswered' }
  /** The same, but small datagrams pass: only those of full size are lost. */
  | { readonly kind: 'narrow'; readonly seen: Endpoint }
  /** It has passed, and does not any more. */
  | { readonly kind: 'lost' };

/** Of the relay's credentials. */
export interface RelaySecrets {
  /** 8 bytes. */
  readonly session: Uint8Array;
  /** 32 bytes. */
  readonly key: Uint8Array;
}

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
 * The first bind is small, and the relay's answer, a challenge, tells that UDP passes. Those with its cookie are as long as
 * the longest frame: only where these pass both ways is the relay used by UDP.
 *
 * Contract. After every call take all of `poll()`, and call `handleTimeout` when `nextTimeout()` comes. `now` is in
 * milliseconds, of a clock that never goes back.
 */
export class RelayBinding {
  readonly #crypto: Pick<Crypto, 'mac' | 'equal'>;
  readonly #session: Uint8Array;
  readonly #key: Uint8Array;
  readonly #length: number;
  readonly #events: BindingEvent[] = [];
  #state: 'new' | 'bound' | 'failing' = 'new';
  #sequence = 0;
  /** Of the relay's last answer to a small bind: such datagrams pass. */
  #challenge: { readonly cookie: Uint8Array; readonly seen: Endpoint } | undefined;
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
  /** What was told last. */
  #told = '';

  /** @param length of the longest frame, bytes @param now when to begin */
  constructor(
    crypto: Pick<Crypto, 'mac' | 'equal'>,
    { session, key }: RelaySecrets,
    length: number,
    now: number,
  ) {
    this.#crypto = crypto;
    this.#session = session;
    this.#key = key;
    this.#length = length;
    this.#next = now;
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

  /** The network of this machine has changed: asks the relay again, and tells its answer even if it is the same. */
  rebind(now: number): void {
    this.#told = '';
    this.#waiting = false; // what was sent before says nothing of here
    this.#unanswered = 0;
    if (this.#state === 'failing') this.#state = 'new';
    this.#next = now;
  }

  /** What came from the relay's UDP address, or claims to. */
  handleControl(bytes: Uint8Array, now: number): void {
    const message = decodeControl(this.#crypto, this.#key, bytes);
    if (message === undefined || !this.#waiting || message.sequence !== this.#sequence) return;
    if (!this.#crypto.equal(message.session, this.#session)) return;
    const { kind, cookie, length } = message;
    if (kind === RELAY_KIND.bound && length >= this.#length) {
      this.#bound(seenIn(message), now);
    } else if (kind !== RELAY_KIND.bind && !this.#challenged) {
      this.#challenge = { cookie, seen: seenIn(message) };
      this.#challenged = true; // once for a try: two who see us at two places would never stop
      this.#bind(now);
    }
  }

  #bound(seen: Endpoint, now: number): void {
    this.#waiting = false;
    this.#isHurried = false;
    this.#unanswered = 0;
    this.#boundAt = now;
    this.#rtt = now - this.#sentAt;
    this.#next = now + BIND_INTERVAL;
    this.#state = 'bound';
    this.#tell({ kind: 'bound', seen });
  }

  #miss(): void {
    this.#unanswered += 1;
    if (this.#unanswered < TRIES) return;
    if (this.#state === 'bound') this.#tell({ kind: 'lost' });
    else if (this.#challenge === undefined) this.#tell({ kind: 'unanswered' });
    else this.#tell({ kind: 'narrow', seen: this.#challenge.seen });
    if (this.#state === 'bound' || this.#unanswered > FIRST_TRIES.length) this.#state = 'failing';
    if (this.#state === 'failing') {
      this.#isHurried = false;
      this.#challenge = undefined; // whether small ones pass may be another question now
    }
  }

  /** Unless it is what was told last. */
  #tell(event: Exclude<BindingEvent, { kind: 'send' }>): void {
    const key = 'seen' in event ? `${event.kind} ${endpointKey(event.seen)}` : event.kind;
    if (key !== this.#told) this.#events.push(event);
    this.#told = key;
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
        ...(this.#challenge && { cookie: this.#challenge.cookie, length: this.#length }),
      }),
    });
  }
}

const seenIn = ({ address, port }: Endpoint): Endpoint => ({
  address: isIpv4Mapped(address) ? address.slice(12) : address,
  port,
});

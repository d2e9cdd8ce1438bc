import { isIpv4Mapped } from '../../../ip/address.js';
import type { Endpoint } from '../../../ip/endpoint.js';
import { BIND_INTERVAL, decodeControl, encodeControl, RELAY_KIND } from '../../../protocol/relay.js';
import type { Crypto } from '../../../wireguard/crypto.js';
import { endpointKey } from './candidates.js';

export type BindingEvent =
  /** To the relay's UDP endpoint, from the interface's socket. */
  | { readonly kind: 'send'; readonly bytes: Uint8Array }
  /** UDP passes in both directions, at full size. `seen`: this node's endpoint as the relay sees it. Repeated when it changes. */
  | { readonly kind: 'bound'; readonly seen: Endpoint }
  /** UDP did not pass at first. The binding keeps trying, but rarely. */
  | { readonly kind: 'unanswered' }
  /** The same, but small datagrams pass. */
  | { readonly kind: 'narrow'; readonly seen: Endpoint }
  /** UDP stopped passing. */
  | { readonly kind: 'lost' };

/** From the relay credentials. */
export interface RelaySecrets {
  /** 8 bytes. */
  readonly session: Uint8Array;
  /** 32 bytes. */
  readonly key: Uint8Array;
}

/** When to repeat an unanswered bind, at first and later; milliseconds. */
const FIRST_TRIES = [250, 500, 1_000, 2_000] as const;
const RETRY = 1_000;
/** The same if packets go out and none come back: three round-trip times, and at least this. */
const QUICK_RETRY = 400;
/** An answer this recent shows that UDP passes, milliseconds. */
const FRESH = 1_000;
/** How many unanswered binds in a row mean that UDP does not pass. */
const TRIES = 3;
/** The interval of binds while packets go through the relay, milliseconds: a failure is noticed soon. */
const BUSY_INTERVAL = 5_000;

/**
 * Binds a UDP socket at the relay, and detects when UDP stops passing. Sans-I/O.
 *
 * The first bind is small, and the relay answers with a challenge. Binds with its cookie are as long as the longest frame.
 * UDP is used only if these pass in both directions.
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
  /** The relay's last answer to a small bind. */
  #challenge: { readonly cookie: Uint8Array; readonly seen: Endpoint } | undefined;
  /** Whether the last bind is unanswered. */
  #waiting = false;
  #challenged = false;
  #unanswered = 0;
  #next: number;
  #boundAt = -Infinity;
  #sentAt = -Infinity;
  /** Of the last answer, milliseconds. */
  #rtt = 0;
  /** UDP may have stopped passing. */
  #isHurried = false;
  /** The last event, as text. */
  #told = '';

  /** @param length of the longest frame, bytes @param now when to start */
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

  /** Packets go through the relay, and none come back: UDP or the peer may be dead. */
  handleSilence(now: number): void {
    if (this.#state !== 'bound' || this.#isHurried || now < this.#boundAt + FRESH) return;
    this.#isHurried = true;
    this.#next = Math.max(now, this.#waiting ? this.#sentAt + this.#retry : now);
  }

  /** This machine's network has changed: binds again, and reports the result even if it is the same. */
  rebind(now: number): void {
    this.#told = '';
    this.#waiting = false; // earlier binds came from the old network
    this.#unanswered = 0;
    if (this.#state === 'failing') this.#state = 'new';
    this.#next = now;
  }

  /** A control message arrived, from the relay's UDP endpoint or a forger. */
  handleControl(bytes: Uint8Array, now: number): void {
    const message = decodeControl(this.#crypto, this.#key, bytes);
    if (message === undefined || !this.#waiting || message.sequence !== this.#sequence) return;
    if (!this.#crypto.equal(message.session, this.#session)) return;
    const { kind, cookie, length } = message;
    if (kind === RELAY_KIND.bound && length >= this.#length) {
      this.#bound(seenIn(message), now);
    } else if (kind !== RELAY_KIND.bind && !this.#challenged) {
      this.#challenge = { cookie, seen: seenIn(message) };
      this.#challenged = true; // once per try: two alternating endpoints would never stop
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
      this.#challenge = undefined; // small datagrams may not pass any more
    }
  }

  /** Pushes an event, unless it repeats the last one. */
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

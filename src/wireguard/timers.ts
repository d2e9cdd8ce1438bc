import { ACTIVITY } from './activity.js';
import { ERASE_AFTER_TIME, JITTER, KEEPALIVE_TIMEOUT, REKEY_TIMEOUT } from './constants.js';

/**
 * The timers of one peer, [W] 6. A timer is not set and cancelled: its deadline is a function of when certain events last
 * happened. `on` reports some of them. Those of packets are read from the peer's row (`ACTIVITY`), which a data path in
 * another thread may write at any time. So the same table serves both.
 *
 * Contract: tell `on` what happened, then ask `nextTimeout()`; at that time, or whenever the data path asks for
 * a wake-up, call `expire(now)` until it returns undefined, and do what it says.
 */

/** When each timer is due: Infinity while it is not running. */
const DUE = {
  /** [W] 6.4: an initiation without a response is sent again, after REKEY_TIMEOUT and some jitter. */
  retransmitInitiation: (t: Timers) => after(t.mark.initiationSent, REKEY_TIMEOUT + t.jitter),

  /** [W] 6.5: data came, and nothing was sent for KEEPALIVE_TIMEOUT: show that it has arrived. */
  sendKeepalive: (t: Timers) => after(t.unanswered('Received'), KEEPALIVE_TIMEOUT),

  /** [W] 6.5: data went out, and nothing came back although the peer would have sent a keepalive by now. */
  newHandshake: (t: Timers) => after(t.unanswered('Sent'), KEEPALIVE_TIMEOUT + REKEY_TIMEOUT + t.jitter),

  /** Nothing authenticated was sent or received for the interval that the user chose, to keep a NAT open. */
  persistentKeepalive: (t: Timers) =>
    t.persistentInterval === 0 ? Infinity : after(t.lastTraffic(), t.persistentInterval),

  /** [W] 6.3: with no new session for 3 x REJECT_AFTER_TIME, keys of any kind are erased. */
  eraseKeys: (t: Timers) => after(t.mark.session, ERASE_AFTER_TIME),
} as const satisfies Record<string, (t: Timers) => number>;

export type TimerName = keyof typeof DUE;
const TIMERS = Object.keys(DUE) as readonly TimerName[];

/** When something last happened; 0 if never, or if it is over. */
interface Marks {
  /** We sent an initiation, and wait for the response. */
  initiationSent: number;
  /** A session began; or the handshake was given up while there was none, and there may be secrets left. */
  session: number;
  /** The persistent keepalive was last due, or turned on. */
  persistentKeepalive: number;
  /** An authenticated message was sent, or is no longer needed. Shared with the data path. */
  answeredReceived: number;
  /** An authenticated message came in, or is requested. Shared with the data path. */
  answeredSent: number;
}
type Mark = keyof Marks;

export type TimerEvent =
  | 'initiationSent'
  | 'initiationHeldBack'
  | 'responseSent'
  | 'authenticatedReceived'
  | 'handshakeComplete'
  | 'sessionDerived'
  | 'handshakeGivenUp'
  | 'persistentKeepaliveSet';

interface Reaction {
  readonly set?: readonly Mark[];
  readonly clear?: readonly Mark[];
}

/** The effect of each event: one row each. */
const REACTIONS: Readonly<Record<TimerEvent, Reaction>> = {
  initiationSent: { set: ['initiationSent', 'answeredReceived'] },
  initiationHeldBack: { set: ['initiationSent'] },
  responseSent: { set: ['answeredReceived'] },
  authenticatedReceived: { set: ['answeredSent'] },
  handshakeComplete: { clear: ['initiationSent'] },
  sessionDerived: { set: ['session'] },
  handshakeGivenUp: { set: ['session'], clear: ['initiationSent'] },
  persistentKeepaliveSet: { set: ['persistentKeepalive'] },
};

/** How a timer resets when it expires: it is due once, until there is a new reason. */
const EXPIRED: Readonly<Record<TimerName, Reaction>> = {
  retransmitInitiation: { clear: ['initiationSent'] },
  sendKeepalive: { set: ['answeredReceived'] },
  newHandshake: { set: ['answeredSent'] },
  persistentKeepalive: { set: ['persistentKeepalive'] },
  eraseKeys: { clear: ['session'] },
};

export class Timers {
  /** Milliseconds between persistent keepalives; 0 is off. */
  persistentInterval = 0;
  /** Milliseconds; chosen anew with every initiation. */
  jitter = 0;
  readonly mark: Omit<Marks, 'answeredReceived' | 'answeredSent'> = {
    initiationSent: 0,
    session: 0,
    persistentKeepalive: 0,
  };
  readonly #row: Float64Array;
  readonly #at: number;
  readonly #random: () => number;

  /** @param random a fraction in [0, 1), for the jitter */
  constructor(row: Float64Array, at: number, random: () => number) {
    this.#row = row;
    this.#at = at;
    this.#random = random;
    this.jitter = random() * JITTER;
  }

  on(event: TimerEvent, now: number): void {
    if (event === 'initiationSent') this.jitter = this.#random() * JITTER;
    // A handshake that was given up does not prolong the life of existing keys.
    if (event === 'handshakeGivenUp' && this.mark.session !== 0)
      this.#apply(EXPIRED.retransmitInitiation, now);
    else this.#apply(REACTIONS[event], now);
  }

  /** When to call `expire` next, as far as is known now. */
  nextTimeout(): number {
    let next = Infinity;
    for (const name of TIMERS) next = Math.min(next, DUE[name](this));
    return next;
  }

  /** The next timer that is due, in the order of the table; undefined when there is none. */
  expire(now: number): TimerName | undefined {
    for (const name of TIMERS) {
      if (DUE[name](this) > now) continue;
      this.#apply(EXPIRED[name], now);
      return name;
    }
    return undefined;
  }

  /** Ends all timers: the interface went down, or the peer was removed. */
  stop(now: number): void {
    this.#apply({ clear: ['initiationSent', 'session'], set: ['answeredReceived', 'answeredSent'] }, now);
  }

  /** Since when data waits for an answer; 0 if none does. */
  unanswered(direction: 'Sent' | 'Received'): number {
    const since = this.#row[this.#at + ACTIVITY[`unanswered${direction}`]]!;
    return since >= this.#row[this.#at + ACTIVITY[`answered${direction}`]]! ? since : 0;
  }

  /** When an authenticated message was last sent or received. */
  lastTraffic(): number {
    const at = this.#at;
    return Math.max(
      this.mark.persistentKeepalive,
      this.#row[at + ACTIVITY.sent]!,
      this.#row[at + ACTIVITY.received]!,
      this.#row[at + ACTIVITY.answeredReceived]!,
      this.#row[at + ACTIVITY.answeredSent]!,
    );
  }

  #apply({ set = [], clear = [] }: Reaction, now: number): void {
    for (const mark of set) this.#write(mark, now);
    for (const mark of clear) this.#write(mark, 0);
  }

  #write(mark: Mark, time: number): void {
    if (mark === 'answeredReceived' || mark === 'answeredSent') this.#row[this.#at + ACTIVITY[mark]] = time;
    else this.mark[mark] = time;
  }
}

const after = (since: number, delay: number): number => (since === 0 ? Infinity : since + delay);

import {
  type Carrier,
  ENDINGS,
  type Ending,
  Session,
  type SessionEvents,
  type SessionKeys,
} from './session.js';

export interface SessionsOptions extends SessionKeys {
  readonly events: Pick<SessionEvents, 'message' | 'frame'> & { closed(session: Session): void };
  /** How long a guest may take to become a member, milliseconds; default two minutes. */
  readonly guestPatience?: number;
  /** Default 8192. */
  readonly maxGuests?: number;
}

/**
 * Guests have proved a key, but are not members. Anyone can make a key, and anyone with a token, even a used one, knows
 * the hub's. Joining takes three answers of a hub that may be busy.
 */
const GUESTS = 8_192;
const GUEST_PATIENCE = 120_000;
/** How often every session is checked, milliseconds. */
const CHECK_INTERVAL = 5_000;

/** A hub's sessions. Guests that do not become members are disconnected after a while, the oldest first. */
export class Sessions {
  /** How sessions ended, and how many proved a key. */
  readonly counters = Object.fromEntries([...ENDINGS, 'opened'].map((name) => [name, 0])) as Record<
    Ending | 'opened',
    number
  >;
  readonly #options: SessionsOptions;
  readonly #open = new Set<Session>();
  /** When each became a guest, the oldest first. */
  readonly #guests = new Map<Session, number>();
  #checked = 0;

  constructor(options: SessionsOptions) {
    this.#options = options;
  }

  /** How many have proved a key. */
  get open(): number {
    return this.#open.size;
  }

  /** Begins a session over a connection. @param opened is called when the client has proved its key */
  begin(carrier: Carrier, remote: string, now: number, opened: () => void = () => {}): Session {
    const events: SessionEvents = {
      ...this.#options.events,
      opened: (session, at) => {
        opened();
        this.counters.opened++;
        this.#open.add(session);
        this.#guests.set(session, at);
        const [oldest] = this.#guests.keys();
        if (this.#guests.size > (this.#options.maxGuests ?? GUESTS)) oldest!.crowdOut();
      },
      admitted: (session) => this.#guests.delete(session),
      closed: (session, why) => {
        this.counters[why]++;
        this.#open.delete(session);
        this.#guests.delete(session);
        this.#options.events.closed(session);
      },
    };
    return new Session(carrier, remote, this.#options, events, now);
  }

  /** Ends sessions that have been silent, slow or guests for too long. Call it about once a second. */
  check(now: number): void {
    const patience = this.#options.guestPatience ?? GUEST_PATIENCE;
    for (const [session, since] of this.#guests) {
      if (since > now - patience) break;
      session.crowdOut();
    }
    if (now - this.#checked < CHECK_INTERVAL) return;
    this.#checked = now;
    for (const session of this.#open) session.check(now);
  }

  close(): void {
    for (const session of [...this.#open]) session.close();
  }
}

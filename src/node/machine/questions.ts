import type { NodeCommand } from './commands.js';
import type { HubEvent } from './hub/hub-events.js';
import type { HubFailure } from './hub/hub-failure.js';

/** What becomes of the hub's answer. */
export interface Question<V> {
  /** @returns the answer that whoever asked gets */
  readonly answered: (value: V) => unknown;
  readonly failed?: ((failure: HubFailure) => void) | undefined;
}

interface Asked extends Question<never> {
  /** What the answer bears; undefined: nobody waits for it. */
  readonly token: number | undefined;
}

/** Questions to the hub and pings to members that wait for an answer, and who waits for it. */
export class Questions {
  readonly #push: (command: NodeCommand) => void;
  readonly #hub = new Map<number, Asked>();
  readonly #pings = new Map<number, number>();
  #next = 1;

  constructor(push: (command: NodeCommand) => void) {
    this.#push = push;
  }

  /** The node itself asks. @param asked the client's number */
  own<V>(asked: number, question: Question<V>): void {
    this.#hub.set(asked, { ...question, token: undefined });
  }

  /** Somebody else asks. @param asked the client's number @returns what the answer will bear */
  foreign<V>(asked: number, question: Question<V>): number {
    const token = this.#next++;
    this.#hub.set(asked, { ...question, token });
    return token;
  }

  /** @param asked the number of `Paths`; undefined: no ping was sent @returns what the answer will bear */
  ping(asked: number | undefined): number {
    const token = this.#next++;
    if (asked === undefined) this.#push({ kind: 'answer', token, value: undefined });
    else this.#pings.set(asked, token);
    return token;
  }

  answered({ token: asked, value, failure }: Extract<HubEvent, { kind: 'answer' }>): void {
    const question = this.#hub.get(asked);
    this.#hub.delete(asked);
    if (question === undefined) return;
    const { token } = question;
    if (failure === undefined) {
      const answer = question.answered(value as never);
      if (token !== undefined) this.#push({ kind: 'answer', token, value: answer });
    } else {
      question.failed?.(failure);
      if (token !== undefined) this.#push({ kind: 'answer', token, failure });
    }
  }

  /** @param rtt milliseconds; undefined: there was no answer in time */
  ponged(asked: number, rtt: number | undefined): void {
    const token = this.#pings.get(asked);
    this.#pings.delete(asked);
    if (token !== undefined) this.#push({ kind: 'answer', token, value: rtt });
  }

  /** No answer comes any more. The client has ended, and its questions have failed. */
  close(): void {
    for (const asked of [...this.#pings.keys()]) this.ponged(asked, undefined);
  }
}

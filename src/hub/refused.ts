import { LametunError } from '../errors.js';
import type { Refusal } from '../wire/messages.js';

/** The hub says no to somebody. Nothing was changed. */
export class Refused extends LametunError {
  readonly refusal: Refusal;
  constructor(refusal: Refusal, message: string) {
    super('refused', message);
    this.refusal = refusal;
  }
}

import { LametunError } from '../../errors.js';
import { type Refusal, WRONG_QUESTIONS } from '../../protocol/messages.js';

/** The hub refuses a request. Nothing was changed. */
export class Refused extends LametunError {
  readonly refusal: Refusal;
  constructor(refusal: Refusal, message: string) {
    super(WRONG_QUESTIONS.has(refusal) ? 'usage' : 'refused', message);
    this.refusal = refusal;
  }
}

import { LametunError } from '../../errors.js';
import type { ControlAnswers, ControlCommand, ControlRequest } from '../../node/control/control.js';
import { askControl } from '../../node/control/control-client.js';
import type { AdminAnswers, AdminRequest } from '../../protocol/messages.js';
import { forTerminal } from '../../protocol/text.js';
import { packageVersion } from '../package-version.js';

/** Asks the process of a state directory for one answer. @throws LametunError, also when the signal ends it */
export async function askOnce<C extends ControlCommand>(
  state: string,
  request: Extract<ControlRequest, { command: C }>,
  signal?: AbortSignal,
): Promise<ControlAnswers[C]> {
  let found: { readonly value: ControlAnswers[C] } | undefined;
  const keep = (value: ControlAnswers[C]): void => {
    found = { value };
  };
  await askControl<C>(state, request, keep, { program: packageVersion(), ...(signal && { signal }) });
  if (found === undefined)
    throw new LametunError('protocol', 'lametun stopped before it answered: start it with `lametun up`');
  return found.value;
}

/** Sends an administrator's request. @throws LametunError */
export async function administer<Op extends AdminRequest['op']>(
  state: string,
  request: Extract<AdminRequest, { op: Op }>,
  signal?: AbortSignal,
): Promise<AdminAnswers[Op]> {
  return (await askOnce<'admin'>(state, { command: 'admin', request }, signal)) as AdminAnswers[Op];
}

/** Prints an answer as one line of JSON, or as text. */
export function print(json: boolean | undefined, value: object, text: () => string): void {
  process.stdout.write(json ? `${JSON.stringify(value)}\n` : `${forTerminal(text())}\n`);
}

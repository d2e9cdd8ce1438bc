/**
 * For how long a signal that comes again is the same wish, milliseconds: timeout(1) sends it to a program and then to
 * its group, and of a terminal that is closed both the shell and the kernel tell.
 */
const SAME_WISH = 2_000;

/**
 * Lets the signals that ask a program to end abort something instead, so that it can tidy up first. One that comes
 * when it should be done by then ends it at once.
 *
 * @param sameWish milliseconds, for tests
 */
export function abortOnSignals(controller: AbortController, sameWish = SAME_WISH): void {
  let first: number | undefined;
  const onSignal = (name: NodeJS.Signals): void => {
    const now = performance.now();
    const isFirst = first === undefined;
    first ??= now;
    controller.abort();
    if (isFirst || now - first < sameWish) return;
    for (const each of SIGNALS) process.off(each, onSignal);
    process.kill(process.pid, name);
  };
  for (const name of SIGNALS) process.on(name, onSignal);
}

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

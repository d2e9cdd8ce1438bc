/**
 * How long a repeated signal counts as the same one, milliseconds: timeout(1) sends it to a program and then to its group,
 * and when a terminal closes, both the shell and the kernel send one.
 */
const SAME_WISH = 2_000;

/**
 * Makes the signals that end a program abort something instead, so that it can clean up first. A later signal ends it at
 * once.
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

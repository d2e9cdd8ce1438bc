/** Lets the signals that ask a program to end abort something instead, so that it can tidy up first. */
export function abortOnSignals(controller: AbortController): void {
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.once(name, () => controller.abort());
}

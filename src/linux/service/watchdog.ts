import { workersRespond } from '../threads/polling-worker.js';
import type { ServiceManager } from './service-manager.js';

/** How many signs of life the manager gets in the time that it waits for one: a single late answer does no harm. */
const SIGNS = 4;

/**
 * Tells the service manager that this process works, while its event loop turns and its workers answer. A worker that
 * hangs is as bad as a main thread that does: packets or handshakes stop. The manager then restarts the service.
 */
export function feedWatchdog(manager: ServiceManager, respond = workersRespond): { close(): void } {
  const { watchdogInterval } = manager;
  if (watchdogInterval === undefined) return { close() {} };
  const timer = setInterval(() => {
    if (respond()) manager.watchdog();
  }, watchdogInterval / SIGNS);
  timer.unref();
  return { close: () => clearInterval(timer) };
}

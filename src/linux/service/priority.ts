import { fstatSync } from 'node:fs';

/** The syslog priorities of log lines, sd-daemon(3). */
const PRIORITY = { error: 3, warning: 4, notice: 5, info: 6, debug: 7 } as const;
export type Priority = keyof typeof PRIORITY;

/**
 * Puts a priority before each line, `<3>`, which journald takes off again.
 *
 * @param text whole lines
 */
export const withPriority = (text: string, priority: Priority): string =>
  text.replaceAll(/^(?=.)/gms, `<${PRIORITY[priority]}>`);

/**
 * Whether a descriptor leads to the journal: JOURNAL_STREAM names the device and inode of that stream, systemd.exec(5). A
 * program that redirects its output has the variable too, so it is compared.
 */
export function isJournal(fd: number, variable = process.env['JOURNAL_STREAM']): boolean {
  if (variable === undefined) return false;
  try {
    const { dev, ino } = fstatSync(fd, { bigint: true });
    return variable === `${dev}:${ino}`;
  } catch {
    return false; // the descriptor is closed
  }
}

/** Text for standard output (1) or standard error (2), with its priority if it goes to the journal. */
export const logged = (fd: 1 | 2, text: string, priority: Priority): string =>
  isJournal(fd) ? withPriority(text, priority) : text;

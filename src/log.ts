/** A device's log. It never contains keys or packets. */
export interface Log {
  /** Whether `verbose` writes anything. Check it before making an expensive text. */
  readonly isVerbose: boolean;
  verbose(text: string): void;
  error(text: string): void;
}

export const LOG_LEVEL = { silent: 0, error: 1, verbose: 2 } as const;
export type LogLevel = (typeof LOG_LEVEL)[keyof typeof LOG_LEVEL];

/** Reads LOG_LEVEL as wireguard-go does: an unknown value, or none, means `error`. */
export function logLevel(variable: string | undefined): LogLevel {
  if (variable === 'verbose' || variable === 'debug') return LOG_LEVEL.verbose;
  return variable === 'silent' ? LOG_LEVEL.silent : LOG_LEVEL.error;
}

/** Lines in wireguard-go's form, `DEBUG: (wg0) 2026/11/23 12:45:50 Device started`. */
export class TextLog implements Log {
  readonly isVerbose: boolean;
  readonly #level: LogLevel;
  readonly #device: string;
  readonly #write: (line: string, kind: 'error' | 'debug') => void;
  readonly #clock: () => Date;

  constructor(
    level: LogLevel,
    device: string,
    write: (line: string, kind: 'error' | 'debug') => void,
    clock = () => new Date(),
  ) {
    this.isVerbose = level >= LOG_LEVEL.verbose;
    this.#level = level;
    this.#device = device;
    this.#write = write;
    this.#clock = clock;
  }

  verbose(text: string): void {
    if (this.isVerbose) this.#line('debug', text);
  }

  error(text: string): void {
    if (this.#level >= LOG_LEVEL.error) this.#line('error', text);
  }

  #line(kind: 'error' | 'debug', text: string): void {
    const now = this.#clock();
    const two = (value: number): string => `${value}`.padStart(2, '0');
    const date = `${now.getFullYear()}/${two(now.getMonth() + 1)}/${two(now.getDate())}`;
    const time = `${two(now.getHours())}:${two(now.getMinutes())}:${two(now.getSeconds())}`;
    this.#write(`${kind.toUpperCase()}: (${this.#device}) ${date} ${time} ${text}\n`, kind);
  }
}

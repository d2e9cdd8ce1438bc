export type Key = 'enter' | 'space' | 'suspend';

const KEYS: Readonly<Record<string, Key>> = { '\r': 'enter', '\n': 'enter', ' ': 'space' };
/** In its usual mode, the terminal itself turns these keys into signals, termios(3). */
const SIGNALS: Readonly<Record<string, NodeJS.Signals>> = {
  '\x03': 'SIGINT',
  '\x1a': 'SIGTSTP',
  '\x1c': 'SIGQUIT',
};

/**
 * The keys typed at stdin, one by one. Until `close`, a terminal there neither echoes them nor waits for whole lines.
 * A pipe works as well.
 */
export class Keyboard {
  readonly #onKey: (key: Key) => void;
  readonly #onData = (data: Buffer): void => {
    for (const char of data.toString('latin1')) this.#press(char);
  };

  constructor(onKey: (key: Key) => void) {
    this.#onKey = onKey;
    setRaw(true);
    process.stdin.on('data', this.#onData).resume();
  }

  close(): void {
    process.stdin.off('data', this.#onData).pause();
    setRaw(false);
  }

  #press(char: string): void {
    const [key, signal] = [KEYS[char], SIGNALS[char]];
    if (key !== undefined) this.#onKey(key);
    if (signal === undefined) return;
    if (signal === 'SIGTSTP') this.#onKey('suspend');
    setRaw(false); // a stopped or dead program could not do it
    process.kill(0, signal); // to the whole foreground job, as the terminal does
    setRaw(true); // after SIGTSTP and SIGCONT, or until SIGINT has ended the demo in order
  }
}

function setRaw(raw: boolean): void {
  if (process.stdin.isTTY) process.stdin.setRawMode(raw);
}

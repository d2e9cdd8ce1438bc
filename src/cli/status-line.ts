/** The last line of a terminal, which is overwritten. Without a terminal it shows nothing. */
export class StatusLine {
  readonly #stream: NodeJS.WriteStream;
  #text = '';

  constructor(stream: NodeJS.WriteStream) {
    this.#stream = stream;
  }

  set(text: string): void {
    if (text === this.#text) return;
    this.#text = text;
    this.#draw();
  }

  /** Prints something above the line. */
  above(print: () => void): void {
    this.#erase();
    print();
    this.#draw();
  }

  clear(): void {
    this.#erase();
    this.#text = '';
  }

  #draw(): void {
    if (!this.#stream.isTTY || this.#text === '') return;
    const fitting = [...this.#text].slice(0, (this.#stream.columns ?? 80) - 1).join('');
    this.#stream.write(`\r\x1b[K${fitting}`);
  }

  #erase(): void {
    if (this.#stream.isTTY && this.#text !== '') this.#stream.write('\r\x1b[K');
  }
}

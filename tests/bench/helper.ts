import type { ChildProcess } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { Namespace } from '../../src/linux/process/namespace.js';

/** A Node program of the benchmark on a host. It answers each line with a line. */
export class Helper {
  readonly #child: ChildProcess;
  readonly #lines: AsyncIterator<string>;

  private constructor(child: ChildProcess) {
    this.#child = child;
    this.#lines = createInterface({ input: child.stdout! })[Symbol.asyncIterator]();
  }

  /** @param program its file, relative to this one. It prints a line when it is ready */
  static async start(host: Namespace, program: string, args: readonly string[]): Promise<Helper> {
    const path = fileURLToPath(new URL(program, import.meta.url));
    const helper = new Helper(
      host.spawn(process.execPath, [path, ...args], { stdio: ['pipe', 'pipe', 'inherit'] }),
    );
    await helper.#line();
    return helper;
  }

  async ask(line: string): Promise<string> {
    this.#child.stdin!.write(`${line}\n`);
    return this.#line();
  }

  close(): void {
    this.#child.kill('SIGKILL');
  }

  async #line(): Promise<string> {
    const { done, value } = await this.#lines.next();
    if (done) throw new Error(`${this.#child.spawnargs.join(' ')} ended`);
    return value;
  }
}

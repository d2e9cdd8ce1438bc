import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { Namespace } from '../../src/linux/process/namespace.js';
import type { PlainEvent } from '../../src/plain/events.js';
import { OFFLOADS_VARIABLE } from '../../src/tunnel/offloads.js';
import { Running } from './running.js';
import { until } from './wait.js';

export const MAIN = fileURLToPath(new URL('../../src/cli/main.js', import.meta.url));

type Named<Name extends PlainEvent['event']> = Extract<PlainEvent, { event: Name }>;

export interface LametunOptions {
  /** A command to put in front of the program: `['setpriv', '--reuid=65534']`. */
  readonly wrapper?: readonly string[];
  /** Prints text instead of JSON, so that there are no events. */
  readonly text?: boolean;
  /** The value of LAMETUN_OFFLOADS. Default: all offloads. */
  readonly offloads?: string;
}

/** A `lametun` process on a host, and its events. */
export class Lametun extends Running {
  readonly events: PlainEvent[] = [];
  readonly #args: readonly string[];

  /** @param args the command line, without `--json` */
  constructor(host: Namespace, args: readonly string[], options: LametunOptions = {}) {
    const { wrapper = [], text = false, offloads = '' } = options;
    const [command, ...rest] = [...wrapper, process.execPath, MAIN, ...args, ...(text ? [] : ['--json'])];
    const env = { ...process.env, [OFFLOADS_VARIABLE]: offloads };
    const child = host.spawn(command!, rest, { stdio: ['ignore', 'pipe', 'pipe'], env });
    const onLine = (line: string): void => void this.events.push(JSON.parse(line) as PlainEvent);
    super(child, `lametun ${args.join(' ')}`, text ? undefined : onLine);
    this.#args = args;
  }

  /** All events of a kind so far. */
  all<Name extends PlainEvent['event']>(name: Name): Named<Name>[] {
    return this.events.filter((event): event is Named<Name> => event.event === name);
  }

  /** The latest totals. */
  get stats(): Named<'stats'> | undefined {
    return this.all('stats').at(-1);
  }

  /**
   * Waits for an event, unless it has happened already.
   *
   * @throws Error when the process ends first, with its stderr, or when no such event arrives in time
   */
  async event<Name extends PlainEvent['event']>(
    name: Name,
    matches: (event: Named<Name>) => boolean = () => true,
    milliseconds = 45_000,
  ): Promise<Named<Name>> {
    const found = await until(
      `"${name}" of lametun ${this.#args.join(' ')}`,
      () => this.all(name).find(matches) ?? (this.running ? undefined : null),
      milliseconds,
    );
    if (found !== null) return found;
    throw new Error(`lametun ${this.#args.join(' ')} ended with ${this.end}: ${this.stderr}`);
  }

  /** Waits until the tunnel is ready for packets. */
  async ready(): Promise<this> {
    await this.event('ready');
    return this;
  }

  /** Resident memory, bytes. */
  get residentBytes(): number {
    const [, kibibytes] = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${this.pid}/status`, 'utf8')) ?? [];
    return Number(kibibytes) * 1024;
  }

  /** The number of open file descriptors. */
  get openFiles(): number {
    return readdirSync(`/proc/${this.pid}/fd`).length;
  }
}

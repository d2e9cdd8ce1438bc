import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { AdminAnswers, AdminRequest } from '../../src/protocol/messages.js';
import { monotonic, type Order, type Replies } from './protocol.js';

const HUB = fileURLToPath(new URL('../hub/hub-process.js', import.meta.url));
const NODES = fileURLToPath(new URL('./nodes.js', import.meta.url));

/** A process that answers each line of JSON with a line of JSON. */
class Conversation {
  readonly child: ChildProcess;
  readonly #lines: AsyncIterator<string>;

  /** @param files the number of file descriptors that it needs */
  constructor(args: readonly string[], files: number) {
    // Node raises its own limit up to the hard limit; root can raise that as well.
    const limit = process.geteuid?.() === 0 ? ['prlimit', `--nofile=${Math.max(files, 20_000)}`] : [];
    const [program, ...rest] = [...limit, process.execPath, ...args] as [string, ...string[]];
    this.child = spawn(program, rest, { stdio: ['pipe', 'pipe', 'inherit'] });
    this.#lines = createInterface({ input: this.child.stdout! })[Symbol.asyncIterator]();
  }

  async ask<T>(request: object): Promise<T> {
    this.child.stdin!.write(`${JSON.stringify(request)}\n`);
    return this.answer();
  }

  async answer<T>(): Promise<T> {
    const { done, value } = await this.#lines.next();
    if (done) throw new Error(`${this.child.spawnargs.join(' ')} ended`);
    const reply = JSON.parse(value) as T & { error?: string };
    if (reply.error !== undefined) throw new Error(reply.error);
    return reply;
  }

  async kill(): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    const ended = once(this.child, 'exit');
    this.child.kill('SIGKILL');
    await ended;
  }
}

export interface CrowdOptions {
  /** Processes of simulated nodes. With more than one, their event loop is not the bottleneck. */
  readonly processes: number;
  /** The hub's state directory. */
  readonly state: string;
  /** `postgres://...`. Default: SQLite in the state directory. */
  readonly database?: string | undefined;
  /** The largest number of nodes, to set the limit on file descriptors. */
  readonly most: number;
  /** Node options for the hub process, for profiling. */
  readonly hubArguments?: readonly string[] | undefined;
}

/** When a change was requested, when the hub acknowledged it, and when it reached each node. */
export interface Spreading {
  readonly asked: number;
  readonly done: number;
  readonly reached: readonly number[];
}

/** When the hub was killed, when it was up again, and when each node was attached and had the current map. */
export interface Return {
  readonly killed: number;
  readonly started: number;
  readonly attached: readonly number[];
  readonly current: readonly number[];
}

/** A hub in one process, and many simulated nodes in others, connected over loopback. */
export class Crowd {
  readonly #options: CrowdOptions;
  readonly #nodes: readonly Conversation[];
  #hub: Conversation;
  #port = 0;
  #token = '';
  #revision = 0;
  #joined = 0;

  private constructor(options: CrowdOptions) {
    this.#options = options;
    this.#hub = this.#newHub();
    this.#nodes = Array.from(
      { length: options.processes },
      () => new Conversation([NODES], options.most + 100),
    );
  }

  static async start(options: CrowdOptions): Promise<Crowd> {
    const crowd = new Crowd(options);
    crowd.#port = (await crowd.#hub.answer<{ port: number }>()).port;
    for (const each of crowd.#nodes) await each.answer();
    const invite = {
      op: 'invite',
      expires: 86_400,
      reusable: true,
      uses: 65_000,
      admin: false,
      shares: [],
    } as const;
    crowd.#token = (await crowd.administer<AdminAnswers['invite']>(invite)).token;
    return crowd;
  }

  /** A token for further nodes. */
  get token(): string {
    return this.#token;
  }

  get hubPid(): number {
    return this.#hub.child.pid!;
  }

  /** The highest known revision of the network map. */
  get revision(): number {
    return this.#revision;
  }

  administer<T>(request: AdminRequest): Promise<T> {
    return this.#hub.ask<T>(request);
  }

  /** Makes `count` nodes join. @returns how long it took, milliseconds */
  async join(count: number): Promise<number> {
    const began = monotonic();
    const share = Math.ceil(count / this.#nodes.length);
    const joined = await Promise.all(
      this.#nodes.map((each, i) => {
        const own = Math.max(0, Math.min(share, count - i * share));
        const prefix = `crowd${this.#joined}-${i}-`;
        return this.#ask(each, {
          do: 'join',
          token: this.#token,
          prefix,
          count: own,
          atOnce: Math.min(own, 16),
        });
      }),
    );
    this.#joined += count;
    this.#revision = Math.max(...joined.map(({ revision }) => revision));
    return monotonic() - began;
  }

  /** Makes a change, and waits until it has reached every node. @param change makes one new revision */
  async spread(change: () => Promise<unknown>): Promise<Spreading> {
    await this.#askAll({ do: 'mark' });
    const asked = monotonic();
    await change();
    const done = monotonic();
    const replies = await this.#askAll({ do: 'reached', revision: ++this.#revision });
    return { asked, done, reached: replies.flatMap(({ at }) => at) };
  }

  /** Kills the hub with SIGKILL, and starts it again. @param forget whether all nodes lose their maps */
  async killHub(forget: boolean): Promise<Return> {
    await this.#askAll({ do: 'brace', forget });
    const killed = monotonic();
    await this.#hub.kill();
    this.#hub = this.#newHub();
    await this.#hub.answer();
    const started = monotonic();
    const replies = await this.#askAll({ do: 'back' });
    await this.#askAll({ do: 'brace', forget: false });
    return {
      killed,
      started,
      attached: replies.flatMap(({ attached }) => attached),
      current: replies.flatMap(({ current }) => current),
    };
  }

  /** Ends the hub gracefully, so that it writes its profile. */
  async endHub(): Promise<void> {
    const ended = once(this.#hub.child, 'exit');
    this.#hub.child.stdin!.end();
    await ended;
  }

  async close(): Promise<void> {
    await Promise.all([this.#hub, ...this.#nodes].map((each) => each.kill()));
  }

  #newHub(): Conversation {
    const { state, database = '', most, hubArguments = [] } = this.#options;
    return new Conversation([...hubArguments, HUB, state, database, `${this.#port}`], most + 200);
  }

  #askAll<O extends Order>(order: O): Promise<Replies[O['do']][]> {
    return Promise.all(this.#nodes.map((each) => this.#ask(each, order)));
  }

  #ask<O extends Order>(to: Conversation, order: O): Promise<Replies[O['do']]> {
    return to.ask(order);
  }
}

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { AdminAnswers, AdminRequest } from '../../src/protocol/messages.js';
import { monotonic, type Order, type Replies } from './protocol.js';

const HUB = fileURLToPath(new URL('../hub/hub-process.js', import.meta.url));
const NODES = fileURLToPath(new URL('./nodes.js', import.meta.url));

/** A program that answers each line of JSON with one. */
class Conversation {
  readonly child: ChildProcess;
  readonly #lines: AsyncIterator<string>;

  /** @param files how many descriptors it needs */
  constructor(args: readonly string[], files: number) {
    // Node raises its own limit as far as it may; root may go further.
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
    if (done) throw new Error(`${this.child.spawnargs.join(' ')} has ended`);
    const said = JSON.parse(value) as T & { error?: string };
    if (said.error !== undefined) throw new Error(said.error);
    return said;
  }

  async kill(): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    const ended = once(this.child, 'exit');
    this.child.kill('SIGKILL');
    await ended;
  }
}

export interface CrowdOptions {
  /** Of simulated nodes: more than one, lest their event loop be the limit. */
  readonly processes: number;
  /** The hub's state directory. */
  readonly state: string;
  /** `postgres://...`; SQLite in the state directory if not given. */
  readonly database?: string | undefined;
  /** Nodes at most, for the descriptors. */
  readonly most: number;
  /** Of node, for the hub: to profile it. */
  readonly hubArguments?: readonly string[] | undefined;
}

/** What came back of a change: when it was asked for, when the hub had done it, and when each node knew of it. */
export interface Spreading {
  readonly asked: number;
  readonly done: number;
  readonly reached: readonly number[];
}

/** When the hub was killed, when it was there again, and when each node was attached, and had the map. */
export interface Return {
  readonly killed: number;
  readonly started: number;
  readonly attached: readonly number[];
  readonly current: readonly number[];
}

/** A hub in a process of its own and many simulated nodes in others, over loopback. */
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

  /** For more nodes of somebody else's. */
  get token(): string {
    return this.#token;
  }

  get hubPid(): number {
    return this.#hub.child.pid!;
  }

  /** The revision of the network's map, as far as anybody has said. */
  get revision(): number {
    return this.#revision;
  }

  administer<T>(request: AdminRequest): Promise<T> {
    return this.#hub.ask<T>(request);
  }

  /** @returns how long it took, milliseconds */
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

  /** @param change makes one new revision */
  async spread(change: () => Promise<unknown>): Promise<Spreading> {
    await this.#askAll({ do: 'mark' });
    const asked = monotonic();
    await change();
    const done = monotonic();
    const replies = await this.#askAll({ do: 'reached', revision: ++this.#revision });
    return { asked, done, reached: replies.flatMap(({ at }) => at) };
  }

  /** Kills the hub as a power cut does, and starts it again. @param forget all nodes lose their maps, too */
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

  /** Ends the hub in good order, so that it writes its profile. */
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

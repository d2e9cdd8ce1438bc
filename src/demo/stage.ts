import type { ChildProcess } from 'node:child_process';
import type { Readable } from 'node:stream';
import { LametunError } from '../errors.js';
import { computeChecksumsInKernel } from '../linux/net/packet-socket.js';
import type { Namespace } from '../linux/process/namespace.js';
import { commandFor, type Program } from '../self.js';
import { Capture, type Seen } from './capture.js';
import { type LessonEvent, type PacketEvent, type SceneId, toHex } from './events.js';
import { ADDRESS, Topology } from './topology.js';

/** The tunnel's own addresses. */
export const INNER = { gateway: '10.0.0.1', laptop: '10.0.0.2' } as const;

/** Where the lesson is played: the hosts, the captured stations, and the audience. */
export class Stage {
  readonly topology: Topology;
  readonly capture: Capture;
  readonly #show: (event: LessonEvent) => Promise<void>;

  /**
   * Builds home, internet and office.
   *
   * @param show resolves when the audience has been shown the event
   * @param file a file descriptor for the captured packets
   */
  constructor(show: (event: LessonEvent) => Promise<void>, file?: number) {
    this.#show = show;
    this.topology = Topology.build({ nat: 'hard' });
    const { laptop, internet, gateway, server } = this.topology;
    for (const host of [laptop, server]) host.inside(() => computeChecksumsInKernel('eth0'));
    for (const device of ['wan', 'lan']) gateway.inside(() => computeChecksumsInKernel(device));
    this.capture = new Capture(file);
    this.capture.watch('home-lan', laptop, 'eth0');
    this.capture.watch('internet', internet, 'home0');
    this.capture.watch('office-lan', server, 'eth0');
  }

  scene = (id: SceneId, title: string): Promise<void> => this.#show({ kind: 'scene', id, title });
  text = (text: string): Promise<void> => this.#show({ kind: 'text', text });
  drawing = (lines: readonly string[]): Promise<void> => this.#show({ kind: 'drawing', lines });
  command = (host: string, command: string): Promise<void> => this.#show({ kind: 'command', host, command });
  output = (text: string): Promise<void> => this.#show({ kind: 'output', text });
  table = (head: readonly string[], rows: readonly (readonly string[])[]): Promise<void> =>
    this.#show({ kind: 'table', head, rows });
  bytes = (caption: string, packet: Uint8Array): Promise<void> =>
    this.#show({ kind: 'bytes', caption, bytes: toHex(packet) });
  packet = (place: string, packet: Uint8Array, more: Partial<PacketEvent> = {}): Promise<void> =>
    this.#show({ kind: 'packet', place, bytes: toHex(packet), ...more });

  /**
   * Shows a command, runs it on a host, and shows what matters of what it prints.
   *
   * @param wanted what to show of each line
   * @returns all that it printed, stdout first
   */
  async run(name: string, host: Namespace, words: readonly string[], wanted = /.*\S/): Promise<string> {
    await this.command(name, words.join(' '));
    const printed = await this.quietly(host, words);
    const text = printed.split('\n').flatMap((line) => wanted.exec(line)?.[0] ?? []);
    if (text.length > 0) await this.output(text.join('\n'));
    return printed;
  }

  /** Runs a command on a host. Its failure may be the point of the lesson, so it is no error here. */
  async quietly(host: Namespace, words: readonly string[]): Promise<string> {
    const [command, ...args] = words;
    const child = host.spawn(command!, args, { stdio: ['ignore', 'pipe', 'pipe'], timeout: 10_000 });
    const read = async (stream: Readable): Promise<string> => {
      let text = '';
      for await (const part of stream.setEncoding('utf8')) text += part;
      return text;
    };
    const [said, complained] = await Promise.all([read(child.stdout!), read(child.stderr!)]);
    return `${said}${complained}`;
  }

  /** Starts a program on a host. @returns once it has printed a line, which says that it is ready */
  async start(host: Namespace, program: Program, args: readonly string[]): Promise<ChildProcess> {
    const [path, ...first] = commandFor(program);
    const child = host.spawn(path, [...first, ...args], { stdio: ['ignore', 'pipe', 'ignore'] });
    await nextLine(child);
    return child;
  }

  async startWebServer(): Promise<void> {
    await this.start(this.topology.server, 'demo/actors', ['serve', ADDRESS.server.v4]);
  }

  /** Reads a page from the office's web server, as any program on the laptop could. */
  async fetchPage(): Promise<string> {
    const words = [...commandFor('demo/actors'), 'fetch', ADDRESS.server.v4];
    return (await this.quietly(this.topology.laptop, words)).trimEnd();
  }

  /**
   * @returns the first captured packet that fits
   * @throws LametunError when there is none: the lesson must not claim what did not happen
   */
  find(seen: readonly Seen[], what: string, fits: (seen: Seen) => boolean): Uint8Array {
    const found = seen.find(fits);
    if (found === undefined) throw new LametunError('linux', `no packet was captured: ${what}`);
    return found.packet;
  }
}

/** @throws LametunError when the program ends instead */
export function nextLine(program: ChildProcess): Promise<string> {
  return new Promise((resolve, reject) => {
    const onClose = (): void => reject(new LametunError('linux', 'a program of the demo ended too early'));
    program.once('close', onClose);
    program.stdout!.once('data', (data: Buffer) => {
      program.off('close', onClose);
      resolve(data.toString().trim());
    });
  });
}

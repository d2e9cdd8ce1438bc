import { closeSync, writeFileSync } from 'node:fs';
import { release } from 'node:os';
import { EXIT_STATUS } from '../errors.js';
import { openOutput } from '../linux/files/safe-files.js';
import { asset } from '../self.js';
import type { LessonEvent } from './events.js';
import { Keyboard } from './keyboard.js';
import { whatIsMissing } from './machine.js';
import { hasScreen, Player } from './player.js';
import { Sandbox } from './sandbox.js';
import { Stop } from './stop.js';

export interface DemoOptions {
  /** Where to write the captured packets, for Wireshark. */
  readonly pcap?: string | undefined;
  /** Keep the networks running at the end, until Enter or Ctrl-C. */
  readonly keep: boolean;
  /** Wait for a key at each screen. */
  readonly step: boolean;
  /** Where to write the lesson's events: this makes the recording. */
  readonly record?: string | undefined;
}

/** A recorded run. */
export interface Recording {
  /** Where and when, in words for the audience. */
  readonly made: string;
  readonly events: readonly LessonEvent[];
}

export const readRecording = (): Recording =>
  JSON.parse(Buffer.from(asset('demo/recording/demo.json')).toString()) as Recording;

/**
 * Shows the lesson on stdout: live where the machine can, as a recording where it cannot.
 *
 * @returns the exit status
 */
export async function runDemo(options: DemoOptions): Promise<number> {
  if (options.step && !(process.stdin.isTTY && hasScreen(process.stdout, process.env))) {
    complain('--step needs a terminal, for input and output');
    return EXIT_STATUS.usage;
  }
  const missing = whatIsMissing();
  if (missing === undefined) return playLive(options);
  const wish = options.pcap !== undefined ? '--pcap' : options.keep ? '--keep' : undefined;
  if (wish !== undefined || options.record !== undefined) {
    complain(`${wish ?? '--record'} needs a live run, which is not possible here: ${missing}`);
    return 1;
  }
  complain(`cannot run live here, so this is a recording: ${missing}`);
  return playRecording(options, missing);
}

const complain = (text: string): void => void process.stderr.write(`lametun demo: ${text}\n`);

async function playLive(options: DemoOptions): Promise<number> {
  const stop = new Stop();
  let file: number | undefined;
  try {
    if (options.pcap !== undefined) file = openOutput(options.pcap);
  } catch (error) {
    complain(`--pcap: ${(error as Error).message}`);
    return 1;
  }
  const sandbox = new Sandbox(file);
  if (file !== undefined) closeSync(file); // the sandbox has its own
  const player = new Player({ step: options.step, signal: stop.signal });
  const recorded: LessonEvent[] = [];
  try {
    const hosts = await stop.race(playSandbox(sandbox, player, recorded));
    if (options.keep) await keepStanding(sandbox, player, stop, hosts, options.pcap);
  } catch (error) {
    if (stop.status === undefined) {
      complain((error as Error).message);
      stop.end(1);
    }
  } finally {
    player.end();
    await sandbox.end();
    stop.forget();
  }
  if (stop.status !== undefined) return stop.status;
  if (options.record !== undefined) writeRecording(options.record, recorded);
  if (options.pcap !== undefined) {
    player.say('The captured packets are in a file. Wireshark reads the packet information as GRE:');
    player.commands([['', `wireshark -d udp.port==1234,gre ${options.pcap}`]]);
  }
  player.say('Everything built here is gone. Nothing else was touched.');
  return 0;
}

async function playSandbox(
  sandbox: Sandbox,
  player: Player,
  recorded: LessonEvent[],
): Promise<Readonly<Record<string, string>>> {
  const events = sandbox.events();
  for (;;) {
    const { done, value } = await events.next();
    if (done) return value;
    recorded.push(value);
    await Promise.race([player.show(value), sandbox.ended]); // the next event says why it ended
  }
}

async function keepStanding(
  sandbox: Sandbox,
  player: Player,
  stop: Stop,
  hosts: Readonly<Record<string, string>>,
  pcap: string | undefined,
): Promise<void> {
  player.say(
    '*Everything is still running*, with the WireGuard tunnel. To enter a host, type in another terminal:',
  );
  player.commands(Object.entries(hosts));
  if (pcap !== undefined) player.say(`Packets are still captured into \`${pcap}\`.`);
  player.say('Press Enter or Ctrl-C here to end it.');
  player.end();
  let keyboard: Keyboard | undefined;
  const enter = new Promise<void>((resolve) => {
    keyboard = new Keyboard((key) => {
      if (key === 'enter') resolve();
    });
  });
  await stop.race(Promise.race([enter, sandbox.ended])).finally(() => keyboard?.close());
}

async function playRecording(options: DemoOptions, missing: string): Promise<number> {
  const stop = new Stop();
  const player = new Player({ step: options.step, signal: stop.signal, recorded: true });
  const { made, events } = readRecording();
  try {
    const text = `*This is a recording*, made ${made}. Nothing below happens on this machine.`;
    await stop.race(player.show({ kind: 'text', text }));
    for (const event of events) await stop.race(player.show(event));
    player.say(`*That was a recording.* The lesson cannot run live here: ${missing}`);
  } catch (error) {
    if (stop.status === undefined) throw error;
  } finally {
    player.end();
    stop.forget();
  }
  return stop.status ?? 0;
}

function writeRecording(path: string, events: readonly LessonEvent[]): void {
  const made = `on ${new Date().toISOString().slice(0, 10)} with Linux ${release().split(/[.-]/).slice(0, 2).join('.')}`;
  const lines = events.map((event) => `    ${JSON.stringify(event)}`).join(',\n');
  const file = openOutput(path);
  writeFileSync(file, `{\n  "made": ${JSON.stringify(made)},\n  "events": [\n${lines}\n  ]\n}\n`);
  closeSync(file);
}

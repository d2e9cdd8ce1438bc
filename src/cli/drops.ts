import { connect } from 'node:net';
import { text } from 'node:stream/consumers';
import { Command } from 'commander';
import { LametunError } from '../errors.js';

/** `lametun drops INTERFACE`: what a `lametund` has dropped, by reason. docs/WIRE.md says what each means. */
export function dropsCommand(): Command {
  return new Command('drops')
    .description('show what the WireGuard interface of a running lametund has dropped, and why')
    .argument('<interface>', 'as it was given to lametund')
    .allowExcessArguments(false)
    .action(async (device: string) => {
      const { uapiPath } = await import('../device/uapi-socket.js');
      process.stdout.write(await fetchDrops(device, uapiPath(device)));
    });
}

/**
 * Asks a device for its drop counters.
 *
 * @returns a line for each reason that has occurred, the most frequent first
 * @throws LametunError when nobody answers there, or not to this question
 */
export async function fetchDrops(device: string, path: string): Promise<string> {
  const socket = connect(path);
  socket.end('get=drops\n\n'); // one request: the other side closes when it has answered
  const answer = await text(socket).catch((error: NodeJS.ErrnoException) => {
    throw new LametunError('missing', `${device}: ${WHY[error.code ?? ''] ?? error.message}`);
  });
  const lines = answer.trimEnd().split('\n');
  if (lines.pop() !== 'errno=0') throw new LametunError('missing', `${device} is not run by lametund`);
  const counts = lines.map((line) => line.split('=') as [string, string]);
  counts.sort(([, a], [, b]) => Number(b) - Number(a));
  const width = Math.max(0, ...counts.map(([reason]) => reason.length));
  return counts.map(([reason, count]) => `${reason.padEnd(width)}  ${count}\n`).join('');
}

const WHY: Readonly<Record<string, string>> = {
  ENOENT: 'no program runs an interface of that name here',
  ECONNREFUSED: 'the program that ran this interface has ended',
  EACCES: 'only root may ask',
};

import { connect } from 'node:net';
import { LametunError } from '../../errors.js';
import { describeErrno } from '../../linux/ffi/errno.js';
import { uapiPath } from './socket.js';

/**
 * Sends a request to a running device through its configuration socket.
 *
 * @param request such as `get=drops`; not one with keys in its answer, which becomes a string
 * @returns the `key=value` lines of the answer
 * @throws LametunError `usage` if there is no such device, it does not know the request, or this process may not ask
 */
export async function askDevice(device: string, request: string): Promise<[string, string][]> {
  const answer = await exchange(device, `${request}\n\n`);
  const lines = answer.trimEnd().split('\n');
  const [, number] = /^errno=(-?\d+)$/.exec(lines.pop() ?? '') ?? [];
  if (number === undefined)
    throw new LametunError('usage', `${device} does not know ${request}: is it a lametund?`);
  if (number !== '0')
    throw new LametunError('linux', `${device}: ${describeErrno(Math.abs(Number(number)))}`);
  return lines.map((line) => {
    const equals = line.indexOf('=');
    return [line.slice(0, equals), line.slice(equals + 1)];
  });
}

function exchange(device: string, request: string): Promise<string> {
  return new Promise((resolve, reject) => {
    let answer = '';
    const socket = connect(uapiPath(device));
    socket.setEncoding('latin1');
    socket.on('connect', () => socket.write(request));
    socket.on('data', (text: string) => {
      answer += text;
      if (answer.endsWith('\n\n')) socket.end();
    });
    socket.on('close', () => resolve(answer));
    socket.on('error', (error: NodeJS.ErrnoException) => reject(unreachable(device, error)));
  });
}

function unreachable(device: string, { code = '' }: NodeJS.ErrnoException): LametunError {
  const why = WHY[code] ?? `its socket ${uapiPath(device)} cannot be used (${code})`;
  return new LametunError('usage', `cannot ask ${device}: ${why}`);
}

const WHY: Readonly<Record<string, string>> = {
  ENOENT: 'no lametund runs a device of that name',
  ECONNREFUSED: 'its lametund has ended',
  EACCES: 'needs root (try sudo)',
};

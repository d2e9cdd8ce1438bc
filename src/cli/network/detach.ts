import { spawn } from 'node:child_process';
import type { Readable } from 'node:stream';
import { commandFor } from '../../self.js';
import { READY, tellParent } from '../ready.js';

/** The descriptor on which the background process reports that it is up. */
const READY_FD = 'LAMETUN_READY_FD';

/** Whether this is the background process. */
export const isDetached = (): boolean => process.env[READY_FD] !== undefined;

/**
 * Runs a command in the background, and returns when it is up or has ended. Its output until then is printed here.
 *
 * @param input what the process reads on its standard input: secrets do not belong in arguments
 * @returns the exit status
 */
export async function detach(args: readonly string[], input = ''): Promise<number> {
  const [program, ...first] = commandFor('cli/main');
  const child = spawn(program, [...first, ...args], {
    detached: true,
    stdio: ['pipe', 'pipe', 'pipe', 'pipe'],
    env: { ...process.env, [READY_FD]: '3' },
  });
  child.stdin.on('error', () => {}); // it ended before it read the input
  child.stdin.end(input);
  child.stdout.pipe(process.stdout);
  child.stderr.pipe(process.stderr);
  const giveUp = (): void => void child.kill();
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.once(signal, giveUp);
  const up = new Promise<number>((resolve) => {
    let said = '';
    (child.stdio[3] as Readable).on('data', (part) => {
      said += String(part);
      if (said === READY) resolve(0);
    });
  });
  const ended = new Promise<number>((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code) => resolve(code ?? 1));
  });
  const status = await Promise.race([up, ended]);
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.off(signal, giveUp);
  for (const stream of [child.stdout, child.stderr, child.stdio[3] as Readable]) stream.destroy();
  child.unref();
  return status;
}

/** Tells the parent that the background process is up. Nobody reads what is printed after this. */
export const tellReady = (): void => tellParent(READY_FD, READY);

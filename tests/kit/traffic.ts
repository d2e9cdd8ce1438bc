import assert from 'node:assert/strict';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import type { Namespace } from '../../src/linux/process/namespace.js';
import type { Transferred } from './transfer.js';

const TRANSFER = fileURLToPath(new URL('./transfer.js', import.meta.url));

/** The port of `serveTransfers`. */
export const TRANSFER_PORT = 8080;

export interface Finished {
  /** The exit status, or -1 when a signal ended it. */
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a program on a host until it ends, without blocking the test. Does not throw when it fails. */
export async function runOn(host: Namespace, command: string, args: readonly string[]): Promise<Finished> {
  const child = host.spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  let stdout = '';
  let stderr = '';
  child.stdout!.setEncoding('utf8').on('data', (text: string) => {
    stdout += text;
  });
  child.stderr!.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
  });
  const [code] = (await once(child, 'close')) as [number | null];
  return { status: code ?? -1, stdout, stderr };
}

export interface PingOptions {
  readonly count?: number;
  /** Seconds between two pings. After other answers, ping waits only that long for the last one. */
  readonly interval?: number;
  /** Seconds to wait for the first answer; for `assertPing`, for all of them. */
  readonly wait?: number;
  /** Payload of the ICMP message, bytes. */
  readonly size?: number;
  /** Sets Don't Fragment. */
  readonly whole?: boolean;
}

export interface PingResult {
  readonly sent: number;
  readonly received: number;
  /** The sequence numbers of the answers, in order of arrival. The first is 1. */
  readonly answered: readonly number[];
  /** Milliseconds. */
  readonly average: number | undefined;
  /** The output of ping. */
  readonly output: string;
}

/** Pings, and reports the answers. Does not throw when there are none. */
export async function ping(from: Namespace, to: string, options: PingOptions = {}): Promise<PingResult> {
  return runPing(from, to, options, ['-W', `${options.wait ?? 1}`]);
}

async function runPing(
  from: Namespace,
  to: string,
  { count = 1, interval = 0.05, size = 56, whole = false }: PingOptions,
  patience: readonly string[],
): Promise<PingResult> {
  const { stdout, stderr } = await runOn(from, 'ping', [
    ...['-n', '-c', `${count}`, '-i', `${interval}`, ...patience, '-s', `${size}`],
    ...(whole ? ['-M', 'do'] : []),
    to,
  ]);
  return parsePing(stdout + stderr);
}

/** Parses the output of ping from iputils. */
export function parsePing(output: string): PingResult {
  const [, sent, received] = /^(\d+) packets transmitted, (\d+) received/m.exec(output) ?? [];
  const [, average] = /^rtt min\/avg\/max\/mdev = [\d.]+\/([\d.]+)\//m.exec(output) ?? [];
  return {
    sent: Number(sent ?? 0),
    received: Number(received ?? 0),
    answered: [...output.matchAll(/icmp_seq=(\d+) ttl=/g)].map(([, sequence]) => Number(sequence)),
    average: average === undefined ? undefined : Number(average),
    output,
  };
}

/**
 * Asserts that every ping is answered, even late ones. Since ping waits for the last answer only for `interval`, or for
 * twice the longest round trip, it may send more than `count`. Only the first `count` matter.
 */
export async function assertPing(
  from: Namespace,
  to: string,
  options: PingOptions = {},
): Promise<PingResult> {
  const all = { count: 3, interval: 0.25, wait: 20, ...options };
  const { count, interval, wait } = all;
  const patience = count === 1 ? ['-W', `${wait}`] : ['-w', `${Math.ceil(count * interval + wait)}`];
  const result = await runPing(from, to, all, patience);
  const answered = new Set(result.answered);
  const missing = Array.from({ length: count }, (_, i) => i + 1).filter((number) => !answered.has(number));
  assert.deepEqual(missing, [], `unanswered pings:\n${result.output}`);
  return result;
}

/** Serves transfers on a host, over IPv4 and IPv6, until stopped. */
export async function serveTransfers(host: Namespace): Promise<{ stop(): void }> {
  const child = host.spawn(process.execPath, [TRANSFER, 'serve', `${TRANSFER_PORT}`], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await Promise.race([
    once(child.stdout!, 'data'),
    once(child, 'close').then(() => assert.fail('the transfer server did not start')),
  ]);
  return { stop: () => void child.kill('SIGKILL') };
}

/**
 * Sends (`put`) or fetches (`get`) random bytes over one TCP connection, and asserts that they arrive unchanged.
 */
export async function transfer(
  verb: 'put' | 'get',
  from: Namespace,
  to: string,
  bytes: number,
): Promise<Transferred> {
  const { status, stdout, stderr } = await runOn(from, process.execPath, [
    ...[TRANSFER, verb, to, `${TRANSFER_PORT}`, `${bytes}`],
  ]);
  assert.equal(status, 0, `${verb} ${to} failed: ${stderr}`);
  const result = JSON.parse(stdout) as Transferred;
  assert.match(result.sentSha256, /^[0-9a-f]{64}$/, `${verb} ${to} was interrupted`);
  assert.equal(result.receivedSha256, result.sentSha256, `${verb} ${to} arrived corrupted`);
  return result;
}

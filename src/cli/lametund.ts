#!/usr/bin/env node
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { lstatSync } from 'node:fs';
import { EXIT_STATUS, LametunError, usage } from '../errors.js';
import { logged } from '../linux/service/priority.js';
import type { ServiceManager } from '../linux/service/service-manager.js';
import { LOG_LEVEL, type LogLevel, logLevel, TextLog } from '../log.js';
import { commandFor } from '../self.js';
import { OFFLOADS_VARIABLE, type Offload, parseOffloads } from '../tunnel/offloads.js';
import { errorText } from './error-text.js';
import { FOREGROUND, lametundHelp, TUN_FD, UAPI_FD, USAGE } from './lametund-usage.js';
import { packageVersion } from './package-version.js';
import { READY, tellParent } from './ready.js';
import { abortOnSignals } from './signals.js';

/**
 * `lametund INTERFACE`: a WireGuard interface in user space, with the command line and environment of wireguard-go. `wg`
 * shows its state.
 *
 * It starts in the foreground, opens the TUN device and the configuration socket, and hands both to a background process, as
 * the descriptors in these variables. It ends when that process answers. A caller can set the variables too.
 *
 * Exit status: 0; 1 when it could not start; 2 when the arguments or the environment are wrong.
 */
/** Our own: the descriptor on which the background process reports how the start went. */
const READY_FD = 'LAMETUND_READY_FD';

async function main(args: readonly string[]): Promise<number> {
  if (args.length === 1 && args[0] === '--version') {
    process.stdout.write(
      `lametund v${packageVersion().split(' ')[1]}\n\nWireGuard in user space, for Linux.\n`,
    );
    return 0;
  }
  const foreground = args[0] === '-f' || args[0] === '--foreground';
  const names = foreground ? args.slice(1) : args;
  if (args.length === 1 && (args[0] === '-h' || args[0] === '--help')) {
    process.stdout.write(lametundHelp());
    return 0;
  }
  if (names.length !== 1 || names[0]!.startsWith('-')) {
    process.stderr.write(USAGE);
    return EXIT_STATUS.usage;
  }
  const inForeground = foreground || process.env[FOREGROUND] === '1';
  const { limitChildren, limitProcess } = await import('../linux/process/capabilities.js');
  const { passedDescriptors } = await import('../linux/service/service-manager.js');
  const named = [TUN_FD, UAPI_FD, READY_FD].flatMap((name) => descriptor(name) ?? []);
  if (inForeground) limitProcess([...named, ...passedDescriptors()]);
  else limitChildren();
  const level = logLevel(process.env['LOG_LEVEL']);
  const offloads = parseOffloads(process.env[OFFLOADS_VARIABLE]);
  const stop = new AbortController();
  abortOnSignals(stop); // before anything exists that could be left behind
  const { ServiceManager } = await import('../linux/service/service-manager.js');
  const manager = inForeground ? new ServiceManager() : undefined;
  const opened = await open(names[0]!, offloads, manager?.take(STORED.tun));
  if (manager !== undefined) return run(opened, manager, offloads, level, stop.signal);
  const loud = process.env['LOG_LEVEL'] !== undefined && level !== LOG_LEVEL.silent;
  return runInBackground(opened, loud, args, stop.signal);
}

/** Names of what the service manager keeps over a restart. */
const STORED = { tun: 'tun', configuration: 'configuration' } as const;

interface Opened {
  readonly device: string;
  /** Bytes; undefined for a new device. */
  readonly mtu?: number | undefined;
  readonly tunFd: number;
  readonly uapiFd: number;
}

/** Opens the TUN device and the configuration socket, or takes over those that were passed. */
async function open(name: string, offloads: readonly Offload[], stored: number | undefined): Promise<Opened> {
  const [{ Tun }, { adoptTun }, { openUapiSocket, uapiPath }, { findLink }] = await Promise.all([
    import('../linux/tun/tun.js'),
    import('../linux/tun/tun-state.js'),
    import('../device/uapi/socket.js'),
    import('../linux/net/link.js'),
  ]);
  if (stored !== undefined) {
    const device = adoptTun(stored);
    const uapiFd = await openUapiSocket(uapiPath(device));
    return { device, mtu: findLink(device)?.mtu, tunFd: stored, uapiFd };
  }
  const given = descriptor(TUN_FD);
  const virtioHeader = offloads.includes('tun-tcp') || offloads.includes('tun-udp');
  const tunFd = given ?? Tun.open({ name, packetInformation: false, virtioHeader }).fd;
  const device = given === undefined ? name : adoptTun(given);
  return { device, tunFd, uapiFd: descriptor(UAPI_FD) ?? (await openUapiSocket(uapiPath(device))) };
}

function descriptor(variable: string): number | undefined {
  const text = process.env[variable];
  if (text === undefined || text === '') return undefined;
  if (/^\d{1,9}$/.test(text)) return Number(text);
  throw usage(`${variable} is not the number of a file descriptor: unset it, or correct it`);
}

async function run(
  { device, mtu, tunFd, uapiFd }: Opened,
  manager: ServiceManager,
  offloads: readonly Offload[],
  level: LogLevel,
  signal: AbortSignal,
): Promise<number> {
  const log = new TextLog(level, device, (line, kind) => process.stdout.write(logged(1, line, kind)));
  process.stdout.on('error', () => {}); // nobody reads the log now
  const [{ runDaemon }, { MemoryFile }] = await Promise.all([
    import('../device/daemon.js'),
    import('../linux/files/memory-file.js'),
  ]);
  process.on('SIGUSR1', () => {}); // Node.js would open its debugger to every local user
  const stored = manager.take(STORED.configuration);
  const isKept = stored !== undefined || manager.isThere;
  const kept = isKept ? MemoryFile.open(`lametund ${device}`, stored) : undefined;
  if (kept !== undefined && stored === undefined) manager.store(STORED.configuration, kept.fd);
  if (mtu === undefined) manager.store(STORED.tun, tunFd);
  await runDaemon({
    device,
    mtu,
    manager,
    kept,
    tunFd,
    uapiFd,
    log,
    offloads,
    signal,
    onReady: () => tellParent(READY_FD, READY),
  });
  return 0;
}

/** @returns once the background process answers or has ended */
async function runInBackground(
  { device, tunFd, uapiFd }: Opened,
  loud: boolean,
  args: readonly string[],
  signal: AbortSignal,
): Promise<number> {
  const { removeUapiSocket, uapiPath } = await import('../device/uapi/socket.js');
  const path = uapiPath(device);
  const inode = lstatSync(path, { throwIfNoEntry: false })?.ino;
  const output = loud ? 'inherit' : 'ignore';
  const [program, ...first] = commandFor('cli/lametund');
  const child = spawn(program, [...first, ...args], {
    detached: true,
    stdio: ['ignore', output, output, tunFd, uapiFd, 'pipe'],
    env: { ...process.env, [TUN_FD]: '3', [UAPI_FD]: '4', [FOREGROUND]: '1', [READY_FD]: '5' },
  });
  const stop = (): void => void child.kill();
  signal.addEventListener('abort', stop);
  if (signal.aborted) stop();
  const report = (child.stdio as readonly unknown[])[5] as NodeJS.ReadableStream;
  let said = '';
  for await (const part of report) said += String(part);
  if (said === READY && !signal.aborted) {
    child.unref();
    return 0;
  }
  if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
  if (inode !== undefined) removeUapiSocket(path, inode);
  if (signal.aborted) throw new LametunError('linux', 'stopped before it was ready');
  throw new LametunError(
    'linux',
    said || 'the background process ended before it was ready: run with LOG_LEVEL=verbose -f to see why',
  );
}

function fail(error: unknown): number {
  if (process.env[READY_FD] === undefined)
    process.stderr.write(logged(2, `lametund: ${errorText(error)}\n`, 'error'));
  else tellParent(READY_FD, errorText(error));
  return error instanceof LametunError ? EXIT_STATUS[error.code] : 1;
}

main(process.argv.slice(2)).catch(fail).then(process.exit);

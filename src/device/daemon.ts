import { lstatSync } from 'node:fs';
import { deferred } from '../deferred.js';
import { LametunError } from '../errors.js';
import type { MemoryFile } from '../linux/files/memory-file.js';
import type { ServiceManager } from '../linux/service/service-manager.js';
import { feedWatchdog } from '../linux/service/watchdog.js';
import type { Log } from '../log.js';
import type { Offload } from '../tunnel/offloads.js';
import { UndoStack } from '../undo.js';
import { keepConfiguration, restoreConfiguration } from './kept-configuration.js';
import { runInterface } from './running-interface.js';
import { removeUapiSocket, UapiServer, uapiPath, watchRemoval } from './uapi/socket.js';

/** The MTU of a new device, bytes: 1500, less the 80 that WireGuard over IPv6 takes. */
const DEFAULT_MTU = 1420;

export interface DaemonOptions {
  readonly device: string;
  /** Open descriptors, which are closed at the end: the TUN device, and the socket at `uapiPath(device)`. */
  readonly tunFd: number;
  readonly uapiFd: number;
  readonly log: Log;
  /** Bytes; default 1420. */
  readonly mtu?: number | undefined;
  readonly manager: ServiceManager;
  /** Keeps the configuration for the next process. The daemon restores it from here when it starts. */
  readonly kept?: MemoryFile | undefined;
  /** The offloads that may be used. */
  readonly offloads: readonly Offload[];
  /** Ends it. */
  readonly signal: AbortSignal;
  /** Called when `wg` gets answers. */
  readonly onReady: () => void;
}

/**
 * Runs a device until `signal`, or until the device or its configuration socket is removed. It leaves nothing behind,
 * even if it cannot start: the TUN device goes with its descriptor, unless it is persistent.
 *
 * @throws LametunError
 */
export async function runDaemon(options: DaemonOptions): Promise<void> {
  const { device, uapiFd, log, signal, onReady, manager, kept, mtu = DEFAULT_MTU } = options;
  const path = uapiPath(device);
  const inode = lstatSync(path, { throwIfNoEntry: false })?.ino;
  if (inode === undefined) throw new LametunError('usage', `${path} was removed before it was of use`);
  const undo = new UndoStack();
  const removeSocket = (): void => removeUapiSocket(path, inode);
  process.once('exit', removeSocket); // also if something else ends the program
  undo.push(removeSocket);
  try {
    const running = runInterface({ ...options, mtu });
    const wireguard = running.wireguard;
    undo.push(() => running.close());
    if (kept !== undefined) restoreConfiguration(wireguard, kept, log);
    const onChange = (): void => {
      if (kept !== undefined) keepConfiguration(wireguard, kept);
      const count = [...wireguard.peers].length;
      manager.status(
        `${device}: ${count === 1 ? '1 peer' : `${count} peers`}, UDP port ${wireguard.listenPort}`,
      );
    };
    onChange();
    undo.push(onChange); // peers may have other endpoints now
    const end = deferred<string>();
    const uapi = new UapiServer(uapiFd, { device: wireguard, log, onChange });
    // The file goes before the device: a program that takes over the name finds neither.
    undo.push(() => uapi.close(), removeSocket);
    const removal = watchRemoval(path, inode, () => end.resolve('the UAPI socket was removed'));
    undo.push(() => removal.close());
    const stop = (): void => end.resolve('told to stop');
    signal.addEventListener('abort', stop);
    if (signal.aborted) stop();
    void running.ended.then((reason) => {
      if (reason === 'device-gone') end.resolve('the device was removed');
      else end.reject(reason);
    });
    log.verbose('UAPI listener started');
    onReady();
    manager.ready();
    const feeding = feedWatchdog(manager);
    undo.push(
      () => feeding.close(),
      () => manager.stopping(),
    );
    log.verbose(`Shutting down: ${await end.promise}`);
  } finally {
    await undo.undo();
    process.off('exit', removeSocket);
  }
}

import { LametunError } from '../errors.js';
import { libc } from '../linux/ffi/libc.js';
import type { MemoryFile } from '../linux/files/memory-file.js';
import type { Log } from '../log.js';
import type { WireGuardInterface } from './interface.js';
import { describeConfiguration } from './uapi/get.js';
import { UapiSession } from './uapi/session.js';

/*
 * The configuration of a device outside this process, for the next one: the lines of a `set=1` request, in memory only, so
 * that private keys never reach a disk.
 */

export function keepConfiguration(device: WireGuardInterface, file: MemoryFile): void {
  const parts = [...describeConfiguration(device)];
  const text = Buffer.concat(parts);
  file.write(text);
  for (const part of [...parts, text]) part.fill(0);
}

/**
 * Configures a new device like the one that was kept. Does nothing if there is nothing kept. It greets the peers: they
 * send to the old session, and would take 15 s to give it up.
 *
 * @throws LametunError `linux` if the kernel refuses it, mostly because the port is taken; it stays kept
 */
export function restoreConfiguration(device: WireGuardInterface, file: MemoryFile, log: Log): void {
  const text = file.read();
  if (text === undefined) return;
  const session = new UapiSession({ device, log, interfaceIndex: libc.if_nametoindex });
  const request = Buffer.concat([Buffer.from('set=1\n'), text, Buffer.from('\n')]);
  const answer = Buffer.concat([...session.handle(request)]).toString();
  for (const part of [text, request]) part.fill(0);
  if (answer === 'errno=0\n\n') {
    for (const peer of device.peers) device.greet(peer);
    return;
  }
  const why = answer.trim();
  throw new LametunError(
    'linux',
    `cannot restore the configuration from before the restart (${why}): its UDP port may be taken`,
  );
}

import { parentPort, workerData } from 'node:worker_threads';
import type { IpAddress } from '../ip/address.js';
import type { Endpoint } from '../linux/socket-address.js';
import { Client } from './client.js';
import { Listener } from './listener.js';
import { PacketLog } from './packet-log.js';
import { SharedState } from './shared.js';
import { Tunnel, type TunnelFds } from './tunnel.js';

/** What the main thread gives a tunnel's worker: descriptors, shared memory, and whom to talk to. */
export interface TunnelJob {
  readonly fds: TunnelFds;
  /** Address family of the socket. */
  readonly family: number;
  /** The server's addresses; none makes this side the listener. */
  readonly servers: readonly Endpoint[];
  /** Who may speak to the listener; none means everybody. */
  readonly allowed: readonly IpAddress[];
  /** A 32-bit number that strangers cannot know. */
  readonly seed: number;
  readonly state: SharedArrayBuffer;
  readonly log: PacketLog['buffers'];
  /** Whether every packet is noted in the log. */
  readonly logPackets: boolean;
}

const job = workerData as TunnelJob;
const state = new SharedState(job.state);
const log = new PacketLog(job.log);
const side =
  job.servers.length > 0
    ? new Client(job.fds.udp, job.family, job.servers, state.counters)
    : new Listener(job.family, job.allowed, job.seed, state.counters, log);
const tunnel = new Tunnel(job.fds, side, state, job.logPackets ? log : undefined);
parentPort?.postMessage('ready');
parentPort?.postMessage(tunnel.run());

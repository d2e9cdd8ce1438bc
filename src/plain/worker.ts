import { parentPort, workerData } from 'node:worker_threads';
import type { IpAddress } from '../ip/address.js';
import type { Endpoint } from '../ip/endpoint.js';
import { Client } from './client.js';
import { Listener } from './listener.js';
import { findMeans, type MeansInUse, type MeansLimits } from './means.js';
import { PacketLog } from './packet-log.js';
import { SharedState } from './shared.js';
import { Tunnel, type TunnelEnd, type TunnelFds } from './tunnel.js';

/** What the main thread gives a tunnel's worker: descriptors, shared memory and the other side's addresses. */
export interface TunnelJob {
  readonly fds: TunnelFds;
  /** Address family of the socket. */
  readonly family: number;
  /** The server's addresses. Without any, this side is the listener. */
  readonly servers: readonly Endpoint[];
  /** Addresses that the listener serves; everyone if there are none. */
  readonly allowed: readonly IpAddress[];
  /** A 32-bit number that strangers cannot know. */
  readonly seed: number;
  readonly state: SharedArrayBuffer;
  readonly log: PacketLog['buffers'];
  /** Whether the log records every packet. */
  readonly logPackets: boolean;
  readonly limits: MeansLimits;
}

/** What the worker tells the main thread: that packets move, and why they stop. */
export type TunnelMessage = { readonly ready: MeansInUse } | { readonly end: TunnelEnd };

const job = workerData as TunnelJob;
const state = new SharedState(job.state);
const log = new PacketLog(job.log);
const side =
  job.servers.length > 0
    ? new Client(job.fds.udp, job.family, job.servers, state.counters)
    : new Listener(job.family, job.allowed, job.seed, state.counters, log);
const { means, inUse } = findMeans(job.fds, job.limits);
const tunnel = new Tunnel(job.fds, side, state, means, job.logPackets ? log : undefined);
const say = (message: TunnelMessage): void => parentPort!.postMessage(message);
say({ ready: inUse });
say({ end: tunnel.run() });

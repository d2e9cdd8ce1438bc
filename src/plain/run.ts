import { randomBytes } from 'node:crypto';
import { Worker } from 'node:worker_threads';
import { LametunError } from '../errors.js';
import { formatAddress, type IpAddress } from '../ip/address.js';
import { type Cidr, formatCidr } from '../ip/cidr.js';
import { type Endpoint, formatEndpoint } from '../ip/endpoint.js';
import { ERRNO, LinuxError } from '../linux/ffi/errno.js';
import type { DesiredHost } from '../linux/host/desired.js';
import { Host } from '../linux/host/host.js';
import { NetworkInterface } from '../linux/net/interface.js';
import { findLink } from '../linux/net/link.js';
import { routeTo } from '../linux/net/route.js';
import { AF } from '../linux/net/socket-address.js';
import { UdpSocket } from '../linux/net/udp.js';
import { Waker } from '../linux/threads/poll.js';
import { clearOffloads, Tun } from '../linux/tun/tun.js';
import { TokenBucket } from '../token-bucket.js';
import { UndoStack } from '../undo.js';
import type { PlainEvent } from './events.js';
import type { MeansLimits } from './means.js';
import { LEARNED, recordEvent, statsEvent, Warnings } from './observe.js';
import { PacketLog } from './packet-log.js';
import { resolveHost } from './resolve.js';
import { SharedState } from './shared.js';
import type { TunnelEnd } from './tunnel.js';
import { leastMtu, tunnelMtu } from './wire.js';
import type { TunnelJob, TunnelMessage } from './worker.js';

export interface PlainOptions {
  /** The server's name or address; empty makes this side the listener. */
  readonly server: string;
  /** Who may speak to the listener; none named means everybody. */
  readonly peers: readonly IpAddress[];
  /** UDP port of both sides. */
  readonly port: number;
  readonly device: string;
  /** Addresses for the device. None, no MTU and no routes leave the device as it was prepared. */
  readonly addresses: readonly Cidr[];
  /** In bytes; without it, what fits the path, if there are addresses to set. */
  readonly mtu?: number;
  readonly routes: readonly Cidr[];
  /** Whether the other side shall reach the networks that this machine is in. */
  readonly forward: boolean;
  /** Whether every packet is told. */
  readonly logPackets: boolean;
  readonly limits: MeansLimits;
}

type Report = (event: PlainEvent) => void;

/**
 * Runs the post's tunnel until it is told to stop or its device is removed, and then undoes what it had set
 * up, also when it could not start.
 *
 * @param report is told what happens
 * @param stopSignal gives what ends the tunnel. It is called when the server's name is resolved: until then there is
 *   nothing to undo, and a name server that does not answer must not keep anyone from ending the program
 * @returns why it ended
 * @throws LametunError: `unknown-host`, `usage`, `missing`, or a LinuxError; nothing is left behind
 */
export async function runPlain(
  options: PlainOptions,
  report: Report,
  stopSignal: () => AbortSignal,
): Promise<TunnelEnd> {
  const resolved = options.server === '' ? [] : await resolveHost(options.server, options.port);
  const signal = stopSignal();
  const undo = new UndoStack(({ message }) =>
    report({ event: 'warning', message: `left behind: ${message}` }),
  );
  const undoAll = (): void => void undo.undo();
  process.once('exit', undoAll); // an uncaught error elsewhere in the program must not leave anything behind
  try {
    const attached = findLink(options.device) !== undefined;
    let host: Host | undefined;
    undo.push(() => host?.stop()); // after the device is closed: what was forwarded for it is not open to others meanwhile
    const tun = openDevice(options);
    undo.push(() => {
      clearOffloads(tun.fd);
      tun.close();
    });
    const udp = openSocket(options, report);
    undo.push(() => udp.close());
    if (options.server === '') udp.reportDestinations();
    else udp.reportErrors();
    udp.setBuffers(SOCKET_BUFFER);
    const servers =
      udp.family === AF.inet ? resolved.filter(({ address }) => address.length === 4) : resolved;
    if (servers.length < 1 && options.server !== '') {
      throw new LametunError(
        'unknown-host',
        `"${options.server}" has IPv6 addresses only, and this machine no IPv6`,
      );
    }

    const device = NetworkInterface.open(tun.name);
    if (options.mtu === undefined) undo.push(chooseMtu(device, options, servers));
    const tell = (message: string): void => report({ event: 'warning', message });
    // All at once: what a tunnel that was killed has left is taken over then, and connections through it go on.
    const desired: DesiredHost = {
      device: desiredDevice(options),
      forwarding: options.forward ? { families: familiesOf(options, device) } : undefined,
    };
    host = new Host({ device: tun.name, desired: () => desired, staysBehind: attached, tell });
    host.reconcile();
    if (host.failure !== undefined) throw host.failure;
    refuseLoop(device, servers);
    report({
      event: 'start',
      role: options.server === '' ? 'listen' : 'client',
      device: tun.name,
      attached,
      port: udp.port,
      mtu: device.link().mtu,
      servers: servers.map(formatEndpoint),
      encrypted: false,
      authenticated: false,
    });

    const end = await runWorker(options, { tun, udp }, servers, report, signal, undo);
    undoAll();
    const message = END_MESSAGE[end](tun.name);
    report({ event: 'end', reason: end, message });
    return end;
  } finally {
    undoAll();
    process.off('exit', undoAll);
  }
}

const END_MESSAGE: Readonly<Record<TunnelEnd, (device: string) => string>> = {
  stopped: () => 'stopped',
  'device-gone': (device) => `the device ${device} was removed: the tunnel has ended`,
};

/** Room for bursts in the socket's queues, bytes. */
const SOCKET_BUFFER = 4 << 20;

/** With the header that offloads need, unless the device was made so that it cannot have one. */
function openDevice({ device: name, limits }: PlainOptions): Tun {
  try {
    return Tun.open({ name, packetInformation: false, virtioHeader: limits.tunTcp || limits.tunUdp });
  } catch (error) {
    if (!(error instanceof LinuxError) || error.errno !== ERRNO.EINVAL) throw error;
    return Tun.open({ name, packetInformation: false });
  }
}

/** The listener must have its port. A client takes it if it can, as the post's does, and else any. */
function openSocket({ server, port }: PlainOptions, report: Report): UdpSocket {
  try {
    return UdpSocket.open(port);
  } catch (error) {
    const taken = error instanceof LinuxError && error.errno === ERRNO.EADDRINUSE;
    if (server === '' || !taken) throw error;
    const udp = UdpSocket.open(0);
    report({
      event: 'warning',
      message: `UDP port ${port} is taken on this machine: using ${udp.port} here`,
    });
    return udp;
  }
}

/** What the reader of the post types by hand: `ip link set`, `ip addr add`, `ip route add`. */
function desiredDevice({ addresses, routes, mtu }: PlainOptions): DesiredHost['device'] {
  const up = addresses.length > 0 || routes.length > 0 || mtu !== undefined;
  return { up, mtu, addresses, routes: routes.map((destination) => ({ destination })) };
}

/**
 * Sets the MTU where nobody asked for one and there are addresses to set: the one that fits the path to the server. On a
 * path too narrow for what is inside, some packets travel in fragments. It is set once: whoever sets another one later,
 * as the demo does, wants that.
 *
 * @returns puts back what was there
 */
function chooseMtu(
  device: NetworkInterface,
  { addresses, routes }: PlainOptions,
  [server]: readonly Endpoint[],
): () => void {
  if (addresses.length === 0) return () => {};
  const before = device.link().mtu;
  const fits =
    server === undefined
      ? tunnelMtu(undefined, 4)
      : tunnelMtu(routeTo(server.address)?.pathMtu, server.address.length === 4 ? 4 : 6);
  device.setMtu(server === undefined ? fits : Math.max(leastMtu([...addresses, ...routes]), fits));
  return () => {
    try {
      device.setMtu(before);
    } catch (error) {
      if (!(error instanceof LinuxError)) throw error; // it went with the device
    }
  };
}

/** Datagrams that the routes send into the tunnel again would go round in circles. */
function refuseLoop(device: NetworkInterface, servers: readonly Endpoint[]): void {
  for (const { address } of servers) {
    if (routeTo(address)?.device !== device.index) continue;
    const host = formatCidr({ address, prefix: address.length * 8 });
    throw new LametunError(
      'usage',
      `the server ${formatAddress(address)} itself would be reached through ${device.name}: ` +
        `choose a narrower -route, or first add one for ${host} through your gateway`,
    );
  }
}

/** Which IP versions to forward: those that the device has addresses of, link-local ones aside. */
function familiesOf(
  { addresses, routes }: PlainOptions,
  device: NetworkInterface,
): { ipv4: boolean; ipv6: boolean } {
  const all = [...addresses, ...routes, ...device.addresses()].map(({ address }) => address);
  const ipv6 = all.some((address) => address.length === 16 && address[0] !== 0xfe);
  return { ipv4: !ipv6 || all.some((address) => address.length === 4), ipv6 };
}

/** How often the main thread looks at what the worker did, milliseconds. */
const LOOK = 100;
const LOOKS_PER_STATS = 10;

/** Lets packets move, and tells what happens, until the worker ends. */
async function runWorker(
  options: PlainOptions,
  { tun, udp }: { tun: Tun; udp: UdpSocket },
  servers: readonly Endpoint[],
  report: Report,
  signal: AbortSignal,
  undo: UndoStack,
): Promise<TunnelEnd> {
  const state = new SharedState();
  const log = new PacketLog();
  const waker = new Waker();
  undo.push(() => waker.close());
  const job: TunnelJob = {
    fds: { tun: tun.fd, udp: udp.fd, wake: waker.fd },
    family: udp.family,
    servers,
    allowed: options.peers,
    seed: randomBytes(4).readInt32LE(),
    state: state.buffer,
    log: log.buffers,
    logPackets: options.logPackets,
    limits: options.limits,
  };
  const worker = new Worker(new URL('./worker.js', import.meta.url), { workerData: job });
  const stop = (): void => {
    state.stop();
    waker.wake();
  };
  // A worker that waits in poll(2) would keep a process that ends from ending.
  undo.push(stop);
  signal.addEventListener('abort', stop);
  if (signal.aborted) stop();

  const warnings = new Warnings(state.counters);
  const learnedLimit = new TokenBucket(LEARNED);
  let looks = 0;
  let untold = 0;
  let missed = 0;
  const look = (): void => {
    const now = performance.now();
    for (let record = log.read(); record !== undefined; record = log.read()) {
      const event = recordEvent(record);
      if (event === undefined) continue;
      if (event.event === 'learned' && !learnedLimit.take(now)) untold++;
      else report(event);
    }
    const stats = statsEvent(state.counters, servers);
    for (const message of warnings.look(stats.server ?? 'a client', now)) {
      report({ event: 'warning', message });
    }
    if (looks++ % LOOKS_PER_STATS !== 0) return;
    const count = untold + ((log.missed - missed) | 0);
    untold = 0;
    missed = log.missed;
    if (count > 0) report({ event: 'missed', count });
    report(stats);
  };
  let timer: NodeJS.Timeout | undefined;
  try {
    const end = await new Promise<TunnelEnd>((resolve, reject) => {
      worker.on('message', (message: TunnelMessage) => {
        if ('end' in message) return resolve(message.end);
        report({ event: 'ready', offloads: message.ready });
        timer = setInterval(look, LOOK);
      });
      worker.once('error', reject);
      worker.once('exit', () => reject(new Error('the worker of the tunnel ended without a word')));
    });
    looks = 0;
    look();
    return end;
  } finally {
    clearInterval(timer);
    signal.removeEventListener('abort', stop);
  }
}

import { randomBytes } from 'node:crypto';
import { LametunError, usage } from '../errors.js';
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
import { startWorker } from '../self.js';
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
  /** Addresses that the listener serves; everyone if there are none. */
  readonly peers: readonly IpAddress[];
  /** UDP port of both sides. */
  readonly port: number;
  readonly device: string;
  /** Addresses for the device. Without addresses, MTU and routes, the device stays as it was prepared. */
  readonly addresses: readonly Cidr[];
  /** In bytes. Unless given, the MTU that fits the path, if there are addresses to set. */
  readonly mtu?: number;
  readonly routes: readonly Cidr[];
  /** Whether the other side may reach this machine's networks. */
  readonly forward: boolean;
  /** Whether to report every packet. */
  readonly logPackets: boolean;
  readonly limits: MeansLimits;
}

type Report = (event: PlainEvent) => void;

/**
 * Runs the post's tunnel until it is stopped or its device is removed, and then undoes everything that it set
 * up, also when it could not start.
 *
 * @param report is called with each event
 * @param stopSignal returns the signal that ends the tunnel. It is called once the server's name is resolved: until
 *   then there is nothing to undo, and Ctrl-C must end a program that waits for a name server
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
    report({ event: 'warning', message: `not undone: ${message}` }),
  );
  const undoAll = (): void => void undo.undo();
  process.once('exit', undoAll); // after an uncaught error elsewhere in the program
  try {
    const attached = findLink(options.device) !== undefined;
    let host: Host | undefined;
    undo.push(() => host?.stop()); // after the device is closed, so that nobody else can use what was forwarded for it
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
        `"${options.server}" has only IPv6 addresses, and this machine has no IPv6`,
      );
    }

    const device = NetworkInterface.open(tun.name);
    if (options.mtu === undefined) undo.push(chooseMtu(device, options, servers));
    const tell = (message: string): void => report({ event: 'warning', message });
    // All at once: so it takes over what a killed tunnel left, and connections through that go on.
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

/** Size of the socket's queues, for bursts, in bytes. */
const SOCKET_BUFFER = 4 << 20;

/** Opens the device with the header that offloads need, unless it was made without. */
function openDevice({ device: name, limits }: PlainOptions): Tun {
  try {
    return Tun.open({ name, packetInformation: false, virtioHeader: limits.tunTcp || limits.tunUdp });
  } catch (error) {
    if (!(error instanceof LinuxError) || error.errno !== ERRNO.EINVAL) throw error;
    return Tun.open({ name, packetInformation: false });
  }
}

/** The listener must have its port. A client takes the same port if it is free, as in the post, otherwise any. */
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

/** What readers of the post type by hand: `ip link set`, `ip addr add`, `ip route add`. */
function desiredDevice({ addresses, routes, mtu }: PlainOptions): DesiredHost['device'] {
  const up = addresses.length > 0 || routes.length > 0 || mtu !== undefined;
  return { up, mtu, addresses, routes: routes.map((destination) => ({ destination })) };
}

/**
 * Sets the MTU that fits the path to the server, unless one was given or there are no addresses to set. On a path that
 * is too narrow for the inner packets, some travel in fragments. It is set once: a user who changes it later, as the
 * demo does, means to.
 *
 * @returns restores the previous MTU
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
      if (!(error instanceof LinuxError)) throw error; // the device is gone
    }
  };
}

/** Datagrams that the routes lead back into the tunnel would go round in circles. */
function refuseLoop(device: NetworkInterface, servers: readonly Endpoint[]): void {
  for (const { address } of servers) {
    if (routeTo(address)?.device !== device.index) continue;
    const host = formatCidr({ address, prefix: address.length * 8 });
    throw usage(
      `the server ${formatAddress(address)} itself would be reached through ${device.name}: ` +
        `choose a narrower -route, or first add one for ${host} through your gateway`,
    );
  }
}

/** Which IP versions to forward: those of the device's addresses, without link-local ones. */
function familiesOf(
  { addresses, routes }: PlainOptions,
  device: NetworkInterface,
): { ipv4: boolean; ipv6: boolean } {
  const all = [...addresses, ...routes, ...device.addresses()].map(({ address }) => address);
  const ipv6 = all.some((address) => address.length === 16 && address[0] !== 0xfe);
  return { ipv4: !ipv6 || all.some((address) => address.length === 4), ipv6 };
}

/** How often the main thread reads what the worker reports, milliseconds. */
const LOOK = 100;
const LOOKS_PER_STATS = 10;

/** Moves packets and reports events until the worker ends. */
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
  const worker = startWorker('plain/worker', { workerData: job });
  const stop = (): void => {
    state.stop();
    waker.wake();
  };
  // A worker that waits in poll(2) would keep the process from ending.
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
      worker.once('exit', () => reject(new Error('the tunnel worker ended without a reason')));
    });
    looks = 0;
    look();
    return end;
  } finally {
    clearInterval(timer);
    signal.removeEventListener('abort', stop);
  }
}

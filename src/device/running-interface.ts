import { lstatSync } from 'node:fs';
import { NodeCrypto } from '../crypto/node-crypto.js';
import { deferred } from '../deferred.js';
import { libc } from '../linux/ffi/libc.js';
import { EgressLookup } from '../linux/net/egress.js';
import { NetworkInterface } from '../linux/net/interface.js';
import { findLink, setLinkMtu } from '../linux/net/link.js';
import { setSocketMark } from '../linux/net/socket-options.js';
import { UdpSocket } from '../linux/net/udp.js';
import { watchNetwork } from '../linux/net/watch.js';
import { Tun } from '../linux/tun/tun.js';
import { tunName } from '../linux/tun/tun-state.js';
import type { Log } from '../log.js';
import type { SocketEndpoint } from '../tunnel/engine.js';
import { OFFLOADS, type Offload } from '../tunnel/offloads.js';
import { WorkerEngine } from '../tunnel/worker-engine.js';
import { UndoStack } from '../undo.js';
import type { PathRule } from '../wireguard/events.js';
import { followLink } from './follow-link.js';
import { type EndReason, WireGuardInterface } from './interface.js';
import { openUapiSocket, removeUapiSocket, UapiServer, uapiPath } from './uapi/socket.js';
import type { DeviceSocket } from './udp-sockets.js';

/** Options of an interface whose TUN device is already open. */
export interface RunningInterfaceOptions {
  /** A TUN device without packet information; closed with the interface. */
  readonly tunFd: number;
  /** Bytes. */
  readonly mtu: number;
  readonly log: Log;
  /** The offloads that may be used. */
  readonly offloads: readonly Offload[];
  /** The UDP port; any if not given. */
  readonly port?: number;
  /** What sets peers' endpoints; default `peers`, as in WireGuard. */
  readonly paths?: PathRule;
  /** Gets the side channel's messages, `protocol/relay.ts`. Without it, they are dropped as malformed. */
  readonly sideChannel?: (bytes: Uint8Array, from: SocketEndpoint) => void;
}

/** A WireGuard interface with its TUN device and its data plane. */
export interface RunningInterface {
  readonly wireguard: WireGuardInterface;
  /** Why it has ended without having been closed. */
  readonly ended: Promise<EndReason>;
  /** Ends all sessions and the data plane, and closes the TUN device. */
  close(): Promise<void>;
}

/**
 * Runs a WireGuard interface on a TUN device, sets its MTU, and follows its state. The UDP socket belongs to the
 * network namespace of the calling thread.
 *
 * @throws LinuxError, mostly EADDRINUSE; then the TUN device is closed
 */
export function runInterface(options: RunningInterfaceOptions): RunningInterface {
  const { tunFd, mtu, log, sideChannel } = options;
  const undo = new UndoStack();
  undo.push(() => void libc.close(tunFd));
  try {
    const link = findLink(tunName(tunFd)); // not found if it is in another namespace
    if (link) setLinkMtu(link, mtu);
    const egress = new EgressLookup();
    undo.push(() => egress.close());
    const wireguard = new WireGuardInterface({
      ...options,
      crypto: new NodeCrypto(),
      wallClock: () => Date.now(),
      engine: (events) => new WorkerEngine({ ...options, events, sideChannel: sideChannel !== undefined }),
      openSocket,
      egress: (from, to, mark) => egress.find(from, to, mark),
    });
    undo.push(() => wireguard.close());
    const network = watchNetwork(() => wireguard.networkChanged());
    undo.push(() => network.close());
    log.verbose('Device started');
    const removed = deferred<EndReason>();
    const following = followLink(
      tunFd,
      (state) => {
        if (state.mtu !== undefined) wireguard.setMtu(state.mtu);
        wireguard.setUp(state.up);
      },
      () => {
        wireguard.detach();
        removed.resolve('device-gone');
      },
    );
    undo.push(() => following.close());
    return {
      wireguard,
      ended: Promise.race([removed.promise, wireguard.ended]),
      close: () => undo.undo(),
    };
  } catch (error) {
    void undo.undo();
    throw error;
  }
}

export interface CreateOptions extends Omit<RunningInterfaceOptions, 'tunFd' | 'offloads'> {
  /** The name of the new network device. */
  readonly name: string;
  /** 32 bytes, which are erased. */
  readonly privateKey: Uint8Array;
  /** SO_MARK of sent packets; default 0, none. */
  readonly fwmark?: number;
  /** Default: all. */
  readonly offloads?: readonly Offload[];
  /**
   * Whether `wg` can show and change the device; default yes. `if-possible`: without that too, for instance if a device
   * in another network namespace has its name.
   */
  readonly uapi?: boolean | 'if-possible';
}

/** An interface that this process has made. */
export interface CreatedInterface extends RunningInterface {
  /** The network device. It begins down. */
  readonly link: NetworkInterface;
  /** The UDP port. */
  readonly port: number;
}

/**
 * Makes a WireGuard interface, which ends with this process at the latest. Interface and UDP socket belong to the
 * calling thread's network namespace.
 *
 * @throws LinuxError if a device has that name, the port is taken, or a right is missing; LametunError. Then nothing is
 *   left behind
 */
export async function createInterface(options: CreateOptions): Promise<CreatedInterface> {
  const { name, log, privateKey, fwmark = 0, offloads = OFFLOADS, uapi = true } = options;
  // No await before everything that belongs to the namespace is made.
  const virtioHeader = offloads.includes('tun-tcp') || offloads.includes('tun-udp');
  const undo = new UndoStack();
  try {
    const { fd } = Tun.open({ name, packetInformation: false, virtioHeader, exclusive: true });
    const made = runInterface({ ...options, offloads, tunFd: fd });
    undo.push(() => made.close());
    const link = NetworkInterface.open(name);
    made.wireguard.setPrivateKey(privateKey);
    if (fwmark !== 0) made.wireguard.setFwmark(fwmark);
    try {
      if (uapi) undo.push(await configureByUapi(name, made.wireguard, log));
    } catch (error) {
      if (uapi === true) throw error;
      log.verbose(`\`wg\` cannot ask about ${name}: ${(error as Error).message}`);
    }
    return {
      ...made,
      link,
      get port() {
        return made.wireguard.listenPort;
      },
      close: () => undo.undo(),
    };
  } catch (error) {
    privateKey.fill(0);
    await undo.undo();
    throw error;
  }
}

/** Not an inode of any file. */
const NONE = 0;

/** Lets `wg` reach a device. @returns a function that ends this, and removes the socket's file */
async function configureByUapi(name: string, device: WireGuardInterface, log: Log): Promise<() => void> {
  const path = uapiPath(name);
  const fd = await openUapiSocket(path);
  const ino = lstatSync(path, { throwIfNoEntry: false })?.ino ?? NONE; // another program may have removed it already
  const server = new UapiServer(fd, { device, log });
  const remove = (): void => removeUapiSocket(path, ino);
  process.once('exit', remove);
  return () => {
    process.off('exit', remove);
    server.close();
    remove();
  };
}

/** A socket that reports the local address of each datagram, so that answers leave from it, and congestion marks. */
function openSocket(port: number): DeviceSocket {
  const socket = UdpSocket.open(port);
  socket.reportDestinations();
  socket.reportTrafficClass();
  socket.letRoutersFragment();
  socket.setBuffers(SOCKET_BUFFER);
  const { fd, family } = socket;
  return {
    fd,
    family,
    port: socket.port,
    setMark: (mark) => setSocketMark(fd, mark),
    close: () => socket.close(),
  };
}

/** Room for bursts, bytes. */
const SOCKET_BUFFER = 4 << 20;

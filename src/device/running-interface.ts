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

/** What an interface needs whose TUN device is open already. */
export interface RunningInterfaceOptions {
  /** A TUN device without packet information; closed with the interface. */
  readonly tunFd: number;
  /** Bytes. */
  readonly mtu: number;
  readonly log: Log;
  /** What may be used of what this machine can. */
  readonly offloads: readonly Offload[];
  /** The UDP port; any without it. */
  readonly port?: number;
  /** Who says where a peer is; `peers` without it, as WireGuard has it. */
  readonly paths?: PathRule;
  /** Gets the side channel's messages, `protocol/relay.ts`; without it, they are dropped as malformed. */
  readonly sideChannel?: (bytes: Uint8Array, from: SocketEndpoint) => void;
}

/** A WireGuard interface with its TUN device and its data plane. */
export interface RunningInterface {
  readonly wireguard: WireGuardInterface;
  /** Why nothing moves any more, without having been closed. */
  readonly ended: Promise<EndReason>;
  /** Ends all sessions and the data plane, and closes the TUN device. */
  close(): Promise<void>;
}

/**
 * Runs a WireGuard interface on a TUN device, sets its MTU, and follows its state. The UDP socket belongs to the network
 * namespace of the calling thread.
 *
 * @throws LinuxError, EADDRINUSE above all; the TUN device is closed then
 */
export function runInterface(options: RunningInterfaceOptions): RunningInterface {
  const { tunFd, mtu, log, sideChannel } = options;
  const undo = new UndoStack();
  undo.push(() => void libc.close(tunFd));
  try {
    const link = findLink(tunName(tunFd)); // nowhere, if it is in another namespace
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
  /** Of the network device, which is made. */
  readonly name: string;
  /** 32 bytes, which are erased. */
  readonly privateKey: Uint8Array;
  /** SO_MARK of what is sent; 0, which is without it, for none. */
  readonly fwmark?: number;
  /** All without it. */
  readonly offloads?: readonly Offload[];
  /**
   * Whether `wg` can ask about the device, and change it; yes without it. `if-possible`: the device is there without that,
   * too, such as when one in another network namespace has its name.
   */
  readonly uapi?: boolean | 'if-possible';
}

/** An interface that this process has made. */
export interface CreatedInterface extends RunningInterface {
  /** To configure the network device by: addresses, routes, up or down. It begins down. */
  readonly link: NetworkInterface;
  /** The UDP port. */
  readonly port: number;
}

/**
 * Makes a WireGuard interface, which ends with this process at the latest. Interface and UDP socket belong to the network
 * namespace that the calling thread is in when it calls.
 *
 * @throws LinuxError when there is a device of that name, the port is taken, or a right is missing; LametunError.
 *   Nothing is left behind then
 */
export async function createInterface(options: CreateOptions): Promise<CreatedInterface> {
  const { name, log, privateKey, fwmark = 0, offloads = OFFLOADS, uapi = true } = options;
  // No await before all that is of a namespace is there.
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

/** In place of an inode: there is no such. */
const NONE = 0;

/** Lets `wg` reach a device. @returns what ends that, and removes the socket's file */
async function configureByUapi(name: string, device: WireGuardInterface, log: Log): Promise<() => void> {
  const path = uapiPath(name);
  const fd = await openUapiSocket(path);
  const ino = lstatSync(path, { throwIfNoEntry: false })?.ino ?? NONE; // somebody may have removed it already
  const server = new UapiServer(fd, { device, log });
  const remove = (): void => removeUapiSocket(path, ino);
  process.once('exit', remove);
  return () => {
    process.off('exit', remove);
    server.close();
    remove();
  };
}

/** A socket that hears which of our addresses was written to, so that answers leave from it, and congestion marks. */
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

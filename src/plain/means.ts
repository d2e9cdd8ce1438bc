import { createChecksum } from '../ip/checksum-wasm.js';
import { createCopy } from '../ip/copy-wasm.js';
import { allocateArena } from '../linux/ffi/memory.js';
import { canSendSegments, receiveSegments } from '../linux/net/udp.js';
import { setOffloads } from '../linux/tun/tun.js';
import { TUNNEL_MEMORY, type TunnelFds, type TunnelMeans } from './tunnel.js';

/** Which of what makes a tunnel fast may be used, where it works: for tests and diagnosis. */
export interface MeansLimits {
  /** TCP segments, and UDP datagrams, in one piece over the TUN device. */
  readonly tunTcp: boolean;
  readonly tunUdp: boolean;
  /** Runs of datagrams to the socket, and bundles of them from it. */
  readonly send: boolean;
  readonly receive: boolean;
  /** Checksums by WebAssembly's SIMD, and copies by it. */
  readonly simd: boolean;
}

/** What is used, as it was found to work on this machine. */
export interface MeansInUse extends Omit<MeansLimits, 'simd'> {
  /** Which implementation sums checksums. */
  readonly checksum: string;
}

/** Tries what kernel, device and machine can do. Each thing that one of them refuses is left out. */
export function findMeans(fds: TunnelFds, limits: MeansLimits): { means: TunnelMeans; inUse: MeansInUse } {
  const memory = allocateArena(TUNNEL_MEMORY);
  const wasm = limits.simd ? memory.memory : undefined;
  const { sum, kernel } = createChecksum(memory.bytes, wasm);
  const copy = createCopy(memory.bytes, wasm);
  const device = setOffloads(fds.tun, { tcp: limits.tunTcp, udp: limits.tunUdp });
  const sendsRuns = limits.send && canSendSegments(fds.udp);
  const receive = limits.receive && receiveSegments(fds.udp);
  return {
    means: { memory, sum, copy, device, sendsRuns },
    inUse: { tunTcp: device.tcp, tunUdp: device.udp, send: sendsRuns, receive, checksum: kernel },
  };
}

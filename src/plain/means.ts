import { createChecksum } from '../ip/checksum-wasm.js';
import { createCopy } from '../ip/copy-wasm.js';
import { allocateArena } from '../linux/ffi/memory.js';
import { canSendSegments, receiveSegments } from '../linux/net/udp.js';
import { setOffloads } from '../linux/tun/tun.js';
import { TUNNEL_MEMORY, type TunnelFds, type TunnelMeans } from './tunnel.js';

/** The offloads that a tunnel may use where they work. Tests and diagnosis limit them. */
export interface MeansLimits {
  /** Merged TCP segments and UDP datagrams at the TUN device. */
  readonly tunTcp: boolean;
  readonly tunUdp: boolean;
  /** Runs of datagrams to the socket, and bundles from it. */
  readonly send: boolean;
  readonly receive: boolean;
  /** Checksums with WebAssembly's SIMD, and copies with WebAssembly. */
  readonly simd: boolean;
}

/** The offloads that work on this machine and are in use. */
export interface MeansInUse extends Omit<MeansLimits, 'simd'> {
  /** The name of the checksum's implementation. */
  readonly checksum: string;
}

/** Finds out which offloads the kernel, the device and the machine support. */
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

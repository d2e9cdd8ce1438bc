import { LametunError } from '../errors.js';

/**
 * What makes the data plane fast, and what it can do without, piece by piece: TCP segments and UDP datagrams in one
 * over the TUN device, runs of datagrams to the socket and bundles of them from it, WebAssembly's SIMD, OpenSSL called directly.
 */
export const OFFLOADS = ['tun-tcp', 'tun-udp', 'send', 'receive', 'simd', 'evp'] as const;
export type Offload = (typeof OFFLOADS)[number];

/** The variable that says which may be used; everything without it. */
export const OFFLOADS_VARIABLE = 'LAMETUN_OFFLOADS';

/**
 * Reads `LAMETUN_OFFLOADS`: `none`, or names with commas between.
 *
 * @throws LametunError `usage`
 */
export function parseOffloads(text: string | undefined): readonly Offload[] {
  if (text === undefined || text === '') return OFFLOADS;
  if (text === 'none') return [];
  const names = text.split(',').map((name) => name.trim());
  const unknown = names.find((name) => !OFFLOADS.includes(name as Offload));
  if (unknown !== undefined) {
    throw new LametunError(
      'usage',
      `${OFFLOADS_VARIABLE}: "${unknown}" is none; use "none", or some of ${OFFLOADS.join(',')}`,
    );
  }
  return OFFLOADS.filter((offload) => names.includes(offload));
}

/** What the data plane uses, as it was found to work on this machine. */
export interface OffloadsInUse {
  readonly tunTcp: boolean;
  readonly tunUdp: boolean;
  readonly send: boolean;
  readonly receive: boolean;
  /** The kernel that sums checksums, and the implementation of the AEAD, by their names. */
  readonly checksum: string;
  readonly aead: string;
}

/** For the log, one line. */
export function describeOffloads({ tunTcp, tunUdp, send, receive, checksum, aead }: OffloadsInUse): string {
  const kinds = [...(tunTcp ? ['TCP'] : []), ...(tunUdp ? ['UDP'] : [])];
  return [
    kinds.length > 0 ? `TUN ${kinds.join(' and ')} segments` : 'no TUN segments',
    send ? 'UDP send segments' : 'no UDP send segments',
    receive ? 'UDP receive bundles' : 'no UDP receive bundles',
    `checksum ${checksum}`,
    `AEAD ${aead}`,
  ].join(', ');
}

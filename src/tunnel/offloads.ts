import { LametunError } from '../errors.js';

/**
 * What makes the data plane fast. Each can be switched off: merged TCP segments and UDP datagrams at the TUN device,
 * runs of datagrams to the socket and bundles from it, WebAssembly's SIMD, OpenSSL called directly.
 */
export const OFFLOADS = ['tun-tcp', 'tun-udp', 'send', 'receive', 'simd', 'evp'] as const;
export type Offload = (typeof OFFLOADS)[number];

/** The environment variable that limits the offloads; all are allowed without it. */
export const OFFLOADS_VARIABLE = 'LAMETUN_OFFLOADS';

/**
 * Parses `LAMETUN_OFFLOADS`: `none`, or names separated by commas.
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
      `${OFFLOADS_VARIABLE}: unknown offload "${unknown}"; use "none", or any of ${OFFLOADS.join(',')}`,
    );
  }
  return OFFLOADS.filter((offload) => names.includes(offload));
}

/** The offloads that work on this machine and are in use. */
export interface OffloadsInUse {
  readonly tunTcp: boolean;
  readonly tunUdp: boolean;
  readonly send: boolean;
  readonly receive: boolean;
  /** The names of the checksum's and the AEAD's implementations. */
  readonly checksum: string;
  readonly aead: string;
}

/** One line for the log. */
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

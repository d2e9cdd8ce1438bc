/** The ECN field, RFC 3168 §5: the low two bits of the IPv4 TOS and the IPv6 traffic class. */
export const ECN = { notEct: 0, ect1: 1, ect0: 2, ce: 3, mask: 3 } as const;

/** The result of `ecnDecapsulate` for a packet that must be dropped: it met congestion, and cannot be marked. */
export const ECN_DROP = -1;

/** RFC 6040 §4.1, normal mode: the outer header copies the inner one, and nothing else of its traffic class. */
export const ecnEncapsulate = (innerTrafficClass: number): number => innerTrafficClass & ECN.mask;

/**
 * RFC 6040 §4.2, figure 4: the inner field to deliver, by the arriving inner field (rows) and outer field
 * (columns Not-ECT, ECT(1), ECT(0), CE). An inner ECT(1) stays under an outer ECT(0).
 */
const DECAPSULATE = [
  /* Not-ECT */ [0, 0, 0, ECN_DROP],
  /* ECT(1)  */ [1, 1, 1, 3],
  /* ECT(0)  */ [2, 1, 2, 3],
  /* CE      */ [3, 3, 3, 3],
] as const;

/** @returns the ECN field of the packet to deliver, or `ECN_DROP` */
export const ecnDecapsulate = (innerTrafficClass: number, outerTrafficClass: number): number =>
  DECAPSULATE[innerTrafficClass & ECN.mask]![outerTrafficClass & ECN.mask]!;

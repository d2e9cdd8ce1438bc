import type { Flavor } from '../brand.js';

/** A node's id: 1 to 2^32 - 1, never reused. It stands for the member's key in relay frames. */
export type NodeId = Flavor<'node id'>;

/** The number of a request, which its answer repeats. */
export type RequestId = Flavor<'request id'>;

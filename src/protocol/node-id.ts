import type { Flavor } from '../brand.js';

/** A node's number: 1 to 2^32 - 1, never given out twice. It stands for the member's key in relay frames. */
export type NodeId = Flavor<'node id'>;

/** The number of a question, which its answer repeats. */
export type RequestId = Flavor<'request id'>;

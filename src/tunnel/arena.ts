import type { WasmMemory } from '../ip/checksum-wasm.js';
import { type Memory, mapShared } from '../linux/memory.js';
import { ReceiveBatch } from '../linux/udp-batch.js';

/** How many datagrams, or bundles of datagrams, are received with one system call. */
export const RECEIVE_BATCH = 32;

/** Where in the arena a packet is read to, with room before it for its `virtio_net_hdr`, and the receive slots. */
export const ARENA = {
  packet: 64,
  /** The largest IP packet. */
  packetSize: 65_535,
  receive: 131_072,
} as const;

/** Bytes of a page of WebAssembly's memory. */
const PAGE = 65_536;

/** Node has it, but no `lib` that this package is compiled with describes it. */
declare const WebAssembly: {
  readonly Memory: new (limits: { initial: number; maximum: number; shared: boolean }) => WasmMemory;
};

/**
 * The worker's memory for packets in the clear. It is WebAssembly's, so that checksums are summed in place; it cannot
 * grow, so it does not move.
 */
export function makeArena(): Memory & { readonly memory: WasmMemory } {
  const pages = Math.ceil((ARENA.receive + ReceiveBatch.size(RECEIVE_BATCH)) / PAGE);
  const memory = new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
  return { memory, ...mapShared(memory.buffer as SharedArrayBuffer) };
}

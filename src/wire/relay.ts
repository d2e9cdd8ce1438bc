/**
 * What goes beside WireGuard on a node's UDP socket, told apart by its first four bytes: WireGuard's messages begin with
 * 1 to 4 and three zeros, ours with these letters. Numbers are little-endian.
 */
const magic = (letters: string): number =>
  letters.charCodeAt(0) |
  (letters.charCodeAt(1) << 8) |
  (letters.charCodeAt(2) << 16) |
  (letters.charCodeAt(3) << 24);

/** The first four bytes as a little-endian i32 (`DataView.getInt32`). */
export const MAGIC = {
  /** A relay frame. */
  relay: magic('LTr1'),
  /** Between a node and the relay: `RELAY_CONTROL`. */
  control: magic('LTc1'),
  /** From node to node, directly or inside a relay frame: `probe.ts`. */
  probe: magic('LTp1'),
} as const;

/**
 * A relay frame: magic, a member's id u32, then the datagram. To the relay the id says whom it is for, from the relay
 * whom it is from. The relay knows the sender by its bound address, or by the channel the frame came through.
 */
export const RELAY_FRAME = { peer: 4, payload: 8 } as const;

/**
 * A node and the relay: magic, kind u32, session 8 bytes, sequence f64 (only ever grows within a session), an address 16
 * bytes (IPv4 in its mapped form) and its port u16, 6 zeros; then 16 bytes of BLAKE2s keyed with the session's key, over
 * all that. `bind` goes to the relay, its address is zeros: from now on what comes from this sender is the session's,
 * and what is for it goes there. `bound` answers it with the same sequence, and the sender's address as the relay sees it.
 */
export const RELAY_CONTROL = {
  kind: 4,
  session: 8,
  sequence: 16,
  address: 24,
  port: 40,
  mac: 48,
  length: 64,
} as const;
export const RELAY_KIND = { bind: 1, bound: 2 } as const;

/** How often a node binds again, which keeps its NAT's mapping, and after how long without it the relay forgets it; ms. */
export const BIND_INTERVAL = 20_000;
export const BIND_LIFETIME = 65_000;

import { DROP } from '../wireguard/drops.js';

/** The reasons of `wireguard/drops.ts`, and those that only the data plane has. */
export const TUNNEL_DROP = [
  ...DROP,
  'too-big', // larger than the path allows
  'congested', // the kernel had no room for it
  'refused', // the TUN device refused it
  'unreachable', // the kernel has no route, or refuses to send
  'busy', // the control plane has too many unread handshake messages or probes
  'not-the-relay', // a relay frame that the relay did not send
] as const;
export type TunnelDrop = (typeof TUNNEL_DROP)[number];

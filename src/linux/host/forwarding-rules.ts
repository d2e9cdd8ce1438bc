import { type Cidr, formatCidr } from '../../ip/cidr.js';

/*
 * The nft table of forwarding for one device, nft(8). Priorities: -150 is `mangle`, after connection tracking and
 * before destination NAT; 100 is `srcnat`.
 */

export interface Families {
  readonly ipv4: boolean;
  readonly ipv6: boolean;
}

/**
 * The table of `tun0` is `lametun_tun0`. Other characters than letters and digits become codes: `a.b` is
 * `lametun_a_2eb`.
 */
export const tableName = (device: string): string =>
  `lametun_${device.replaceAll(/[^a-zA-Z0-9]/g, (character) => `_${character.charCodeAt(0).toString(16)}`)}`;

/**
 * `rt mtu` is the smaller MTU of the routes in both directions, less the headers, and a segment size is never raised:
 * nft_rt.c, nft_exthdr.c.
 */
const CLAMP = 'tcp flags & (syn | rst) == syn tcp option maxseg size set rt mtu';

/** Packets from the tunnel are forwarded to any destination. */
export function openTable(device: string, { ipv4, ipv6 }: Families, name: string): string {
  const outward = `iifname "${device}" oifname != "${device}" masquerade`;
  return `
    table inet ${name} {
      chain forward {
        type filter hook forward priority -150; policy accept;
        iifname "${device}" ${CLAMP}
        oifname "${device}" ${CLAMP}
      }
      chain postrouting {
        type nat hook postrouting priority 100; policy accept;
        ${ipv4 ? `meta nfproto ipv4 ${outward}` : ''}
        ${ipv6 ? `meta nfproto ipv6 ${outward}` : ''}
      }
    }`;
}

/**
 * Packets from the tunnel must be for this machine or for a network that it shares; others are dropped.
 *
 * `arriving` runs before destination NAT. A packet is for this machine if it is for an address of the device itself,
 * not just any address of the machine: ports that the machine's own rules publish there can be reached, and nothing
 * else behind such rules. (Devices with neighbours, which TUN devices do not have, answer for their addresses.) It
 * checks every packet, so that a network that is no longer shared is cut off at once. A packet from another device with
 * a source inside the tunnel is forged by a neighbour on that link, and would pass for a member's.
 *
 * `forward` lets packets into the tunnel that belong to members' connections, and new connections from everywhere
 * except `outside`: the devices to the Internet, from which anyone on that link could otherwise reach the whole network
 * in this machine's name.
 *
 * `postrouting`: the LAN sees this machine's own address, and needs no route back. Members see a shared host's own
 * address, which they have a route to, and this machine's inner address for all other hosts behind it.
 */
export function limitedTable(
  device: string,
  destinations: readonly Cidr[],
  outside: readonly string[],
  name: string,
): string {
  const set = (title: string, type: string, interval: boolean, elements: readonly string[]): string => `
      set ${title} {
        type ${type}
        ${interval ? 'flags interval\n        auto-merge' : ''}
        ${elements.length > 0 ? `elements = { ${elements.join(', ')} }` : ''}
      }`;
  const shared = (length: number): string[] =>
    destinations.filter(({ address }) => address.length === length).map(formatCidr);
  const devices = outside.map((each) => `"${each}"`);
  return `
    table inet ${name} {
      ${set('shared4', 'ipv4_addr', true, shared(4))}
      ${set('shared6', 'ipv6_addr', true, shared(16))}
      ${set('outside', 'ifname', false, devices)}
      chain arriving {
        type filter hook prerouting priority -150; policy accept;
        iifname != { "lo", "${device}" } fib saddr oifname "${device}" drop
        iifname != "${device}" accept
        fib daddr . iif type local accept
        ip daddr @shared4 accept
        ip6 daddr @shared6 accept
        ip6 daddr ff02::/16 icmpv6 type nd-neighbor-solicit accept
        drop
      }
      chain forward {
        type filter hook forward priority -150; policy accept;
        iifname "${device}" oifname "${device}" drop
        iifname "${device}" ${CLAMP}
        oifname != "${device}" accept
        ${CLAMP}
        ct direction reply accept
        meta l4proto { icmp, icmpv6 } ct state related accept
        iifname @outside drop
      }
      chain postrouting {
        type nat hook postrouting priority 100; policy accept;
        iifname "${device}" masquerade
        oifname != "${device}" accept
        fib saddr . oif type local accept
        ip saddr @shared4 accept
        ip6 saddr @shared6 accept
        masquerade
      }
    }`;
}

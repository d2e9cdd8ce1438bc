import { type Cidr, formatCidr } from '../../ip/cidr.js';

/*
 * The nft tables of forwarding, nft(8): what one device's table says. Priorities: -150 is `mangle`, after connections
 * are known and before destinations are translated; 100 is `srcnat`.
 */

export interface Families {
  readonly ipv4: boolean;
  readonly ipv6: boolean;
}

/** `tun0` is `lametun_tun0`; what is neither letter nor digit becomes its code: `a.b` is `lametun_a_2eb`. */
export const tableName = (device: string): string =>
  `lametun_${device.replaceAll(/[^a-zA-Z0-9]/g, (character) => `_${character.charCodeAt(0).toString(16)}`)}`;

/**
 * `rt mtu` is the smaller one of the route on and the route back, less the headers, and a segment size is only ever
 * lowered: nft_rt.c, nft_exthdr.c.
 */
const CLAMP = 'tcp flags & (syn | rst) == syn tcp option maxseg size set rt mtu';

/** Whatever comes out of the tunnel goes on to wherever it is for. */
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
 * What comes out of the tunnel is for this machine, or for one of the networks that it shares, or is dropped.
 *
 * `arriving` looks before any destination is translated. For this machine means: for an address of the device itself,
 * not just any that the machine has; a port that the machine's own rules publish there is reached, and nothing else
 * behind such rules. (Devices that have neighbours, as no TUN device has, need to be asked for their addresses.)
 * Every single packet is looked at, so that what is shared no more is cut off at once. What comes by another device
 * under an address that the tunnel leads to is forged, by a neighbour on that link: it would pass for a member's.
 *
 * `forward` lets into the tunnel what belongs to connections that members have opened, and new ones from everywhere
 * but `outside`: the devices to the Internet, from which whoever is on that link could else reach the whole network
 * in this machine's name.
 *
 * `postrouting`: the LAN sees this machine's own address, and needs no route back. Members see a shared host as it is,
 * since they know where it is; and everybody else behind this machine under its inner address.
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

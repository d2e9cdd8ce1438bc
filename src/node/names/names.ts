import { type IpAddress, parseAddress } from '../../ip/address.js';
import { type Cidr, contains, networkOf } from '../../ip/cidr.js';
import { isLabel } from '../../protocol/label.js';
import type { NamedNode } from '../machine/commands.js';

/** Every name of a network ends in `NETWORK.lametun`. */
const SUFFIX = 'lametun';

/** DNS parameters of IANA. */
export const DNS_TYPE = { a: 1, soa: 6, ptr: 12, aaaa: 28, opt: 41, any: 255 } as const;
export const RCODE = { noError: 0, formatError: 1, serverFailure: 2, nameError: 3, refused: 5 } as const;

export interface NameRecord {
  readonly type: 'A' | 'AAAA' | 'PTR';
  readonly data: string;
}

export interface NameAnswer {
  /** `nameError` (NXDOMAIN): there is no such name. `noError` without records (NODATA): not of that type. */
  readonly rcode: typeof RCODE.noError | typeof RCODE.nameError;
  readonly records: readonly NameRecord[];
  /** The zone that the name is in, for the SOA record by which resolvers know how long a "no" holds, RFC 2308. */
  readonly zone: string;
}

/** The domain of a network: `home.lametun`. */
const domainOf = (network: string): string => `${network.toLowerCase()}.${SUFFIX}`;

/** The reverse zones of a network's ranges: `7.10.in-addr.arpa`; several where a range ends within a label. */
export function reverseZones(ranges: readonly Cidr[]): string[] {
  return ranges.flatMap((range) => {
    const { address, prefix } = networkOf(range);
    const bits = address.length === 4 ? 8 : 4;
    const labels = Math.ceil(prefix / bits);
    const last = ((labels - 1) * bits) >> 3; // the byte that the last label is in, or half of it
    const step = bits === 4 && labels % 2 === 1 ? 16 : 1;
    return Array.from({ length: 2 ** (labels * bits - prefix) }, (_, i) => {
      const zone = address.slice();
      zone[last]! += i * step;
      return reverseName(zone, labels);
    });
  });
}

/**
 * The names of a network, as its map has them. Pure: what is asked comes in, what is so goes out; `resolver.ts`
 * speaks DNS.
 */
export class Names {
  readonly domain: string;
  readonly #ranges: readonly Cidr[];
  readonly #zones: readonly string[];
  #byName = new Map<string, NamedNode>();
  /** By reverse name. */
  #byAddress = new Map<string, string>();

  /** Whether this machine has IPv6; without, an IPv6 address is of no use to anybody here. */
  hasIpv6 = true;

  /** @param ranges the network's: all names for addresses in them are ours */
  constructor(network: string, ranges: readonly Cidr[]) {
    this.domain = domainOf(network);
    this.#ranges = ranges.map(networkOf);
    this.#zones = reverseZones(this.#ranges);
  }

  /** Takes the nodes that there are from now on. What could be no name in the DNS is left out: the hub may lie. */
  set(nodes: Iterable<NamedNode>): void {
    const byName = new Map<string, NamedNode>();
    const byAddress = new Map<string, string>();
    for (const node of nodes) {
      const name = node.name.toLowerCase();
      if (!isLabel(name)) continue;
      byName.set(name, node);
      for (const text of [node.ipv4, node.ipv6]) {
        const address = parseAddress(text);
        if (address !== undefined) byAddress.set(reverseName(address), `${name}.${this.domain}`);
      }
    }
    this.#byName = byName;
    this.#byAddress = byAddress;
  }

  /**
   * @param name in any case, without a dot at its end
   * @param type a DNS type's number; `DNS_TYPE.any` for all there are
   * @returns undefined when the name is none of this network's
   */
  lookup(name: string, type: number): NameAnswer | undefined {
    const asked = name.toLowerCase();
    if (asked === this.domain) return this.#found([], type, this.domain);
    if (asked.endsWith(`.${this.domain}`)) {
      const node = this.#byName.get(asked.slice(0, -this.domain.length - 1));
      if (node === undefined) return { rcode: RCODE.nameError, records: [], zone: this.domain };
      const records: NameRecord[] = [{ type: 'A', data: node.ipv4 }];
      if (this.hasIpv6 && !node.ipv4Only) records.push({ type: 'AAAA', data: node.ipv6 });
      return this.#found(records, type, this.domain);
    }
    return asked.endsWith('.arpa') ? this.#reverse(asked, type) : undefined;
  }

  #reverse(name: string, type: number): NameAnswer | undefined {
    const prefix = readReverseName(name);
    if (prefix === undefined) return undefined;
    const range = this.#ranges.find((own) => own.prefix <= prefix.prefix && contains(own, prefix.address));
    if (range === undefined) return undefined;
    const zone = this.#zones.find((own) => name === own || name.endsWith(`.${own}`)) ?? name;
    const whole = prefix.prefix === prefix.address.length * 8;
    const node = this.#byAddress.get(name);
    // A name above those of addresses exists without having anything, RFC 8020.
    if (whole && node === undefined) return { rcode: RCODE.nameError, records: [], zone };
    return this.#found(node === undefined ? [] : [{ type: 'PTR', data: node }], type, zone);
  }

  #found(records: readonly NameRecord[], type: number, zone: string): NameAnswer {
    const wanted = records.filter((record) => type === DNS_TYPE.any || NUMBER[record.type] === type);
    return { rcode: RCODE.noError, records: wanted, zone };
  }
}

const NUMBER: Readonly<Record<NameRecord['type'], number>> = {
  A: DNS_TYPE.a,
  AAAA: DNS_TYPE.aaaa,
  PTR: DNS_TYPE.ptr,
};

/**
 * The name under which the DNS keeps what an address is called: RFC 1035 §3.5, RFC 3596 §2.5.
 *
 * @param labels how many of the address's leading octets, or half octets of IPv6, to name; all if not given
 */
function reverseName(address: IpAddress, labels?: number): string {
  const parts =
    address.length === 4
      ? [...address].map(String)
      : [...address].flatMap((byte) => [(byte >> 4).toString(16), (byte & 15).toString(16)]);
  const suffix = address.length === 4 ? 'in-addr.arpa' : 'ip6.arpa';
  return [...parts.slice(0, labels).reverse(), suffix].join('.');
}

/** The network that a reverse name stands for, all of an address or the beginning; undefined when it is none. */
function readReverseName(name: string): Cidr | undefined {
  const labels = name.split('.').reverse();
  if (labels[1] === 'in-addr') {
    const parts = labels.slice(2);
    if (parts.length > 4 || !parts.every((part) => /^(0|[1-9]\d{0,2})$/.test(part) && Number(part) < 256)) {
      return undefined;
    }
    const address = new Uint8Array(4);
    address.set(parts.map(Number));
    return { address, prefix: parts.length * 8 };
  }
  if (labels[1] !== 'ip6') return undefined;
  const parts = labels.slice(2);
  if (parts.length > 32 || !parts.every((part) => /^[0-9a-f]$/.test(part))) return undefined;
  const address = new Uint8Array(16);
  for (const [i, part] of parts.entries()) {
    address[i >> 1]! |= Number.parseInt(part, 16) << (i % 2 === 0 ? 4 : 0);
  }
  return { address, prefix: parts.length * 4 };
}

import { type IpAddress, parseAddress } from '../../ip/address.js';
import { type Cidr, contains, networkOf } from '../../ip/cidr.js';
import { isLabel } from '../../protocol/label.js';
import type { NamedNode } from '../machine/commands.js';

/** Values from IANA's DNS parameters. */
export const DNS_TYPE = { a: 1, soa: 6, ptr: 12, aaaa: 28, opt: 41, any: 255 } as const;
export const RCODE = { noError: 0, formatError: 1, serverFailure: 2, nameError: 3, refused: 5 } as const;

export interface NameRecord {
  readonly type: 'A' | 'AAAA' | 'PTR';
  readonly data: string;
}

export interface NameAnswer {
  /** `nameError` (NXDOMAIN): no such name. `noError` without records (NODATA): no record of this type. */
  readonly rcode: typeof RCODE.noError | typeof RCODE.nameError;
  readonly records: readonly NameRecord[];
  /** The zone of the name, for the SOA record that says how long a negative answer may be cached, RFC 2308. */
  readonly zone: string;
}

/** The reverse zones of a network's ranges: `7.10.in-addr.arpa`; several if a range ends within a label. */
export function reverseZones(ranges: readonly Cidr[]): string[] {
  return ranges.flatMap((range) => {
    const { address, prefix } = networkOf(range);
    const bits = address.length === 4 ? 8 : 4;
    const labels = Math.ceil(prefix / bits);
    const last = ((labels - 1) * bits) >> 3; // the byte of the last label, which may be only its upper half
    const step = bits === 4 && labels % 2 === 1 ? 16 : 1;
    return Array.from({ length: 2 ** (labels * bits - prefix) }, (_, i) => {
      const zone = address.slice();
      zone[last]! += i * step;
      return reverseName(zone, labels);
    });
  });
}

/** The names of a network, from its map. No I/O: `resolver.ts` speaks DNS. */
export class Names {
  /** Every name of the network is in this domain: `home.lametun`. */
  readonly domain: string;
  readonly #ranges: readonly Cidr[];
  readonly #zones: readonly string[];
  #byName = new Map<string, NamedNode>();
  /** By reverse name. */
  #byAddress = new Map<string, string>();

  /** Whether this machine has IPv6. Without it, IPv6 addresses are left out. */
  hasIpv6 = true;

  /** @param ranges of the network: their reverse names belong to it */
  constructor(network: string, ranges: readonly Cidr[]) {
    this.domain = `${network.toLowerCase()}.lametun`;
    this.#ranges = ranges.map(networkOf);
    this.#zones = reverseZones(this.#ranges);
  }

  /** Replaces the nodes. Names that DNS does not allow are left out: the hub may lie. */
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
   * @param name in upper or lower case, without a dot at the end
   * @param type the number of a DNS type; `DNS_TYPE.any` for all records
   * @returns undefined for names outside this network
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
    // A name above the names of addresses exists, but has no records, RFC 8020.
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
 * The reverse name of an address: RFC 1035 §3.5, RFC 3596 §2.5.
 *
 * @param labels how many leading bytes of an IPv4 address, or half bytes of an IPv6 address, to use; all if not given
 */
function reverseName(address: IpAddress, labels?: number): string {
  const parts =
    address.length === 4
      ? [...address].map(String)
      : [...address].flatMap((byte) => [(byte >> 4).toString(16), (byte & 15).toString(16)]);
  const suffix = address.length === 4 ? 'in-addr.arpa' : 'ip6.arpa';
  return [...parts.slice(0, labels).reverse(), suffix].join('.');
}

/** The address or network of a reverse name; undefined for other names. */
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

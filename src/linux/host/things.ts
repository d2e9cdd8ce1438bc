import { formatCidr, parseCidr } from '../../ip/cidr.js';
import { LinuxError } from '../ffi/errno.js';
import { addAddress, listAddresses, removeAddress } from '../net/interface.js';
import { type DeviceName, findLink, setLinkMtu, setLinkUp } from '../net/link.js';
import type { NetlinkSocket } from '../net/netlink.js';
import { addRoute, listDeviceRoutes, RTN, removeRoute } from '../net/route.js';
import { readSysctl, writeSysctl } from '../process/sysctl.js';
import { openNftables, removeTables, replaceTable, tableFingerprint } from './nftables.js';

/** A thing that can be read and set, with one value as text. The journal stores it in this form. */
export type Thing =
  /** `up` or `down`. */
  | { readonly kind: 'state'; readonly device: DeviceName }
  /** In bytes. */
  | { readonly kind: 'mtu'; readonly device: DeviceName }
  /** `there`. A bare address makes no route to its network. */
  | {
      readonly kind: 'address';
      readonly device: DeviceName;
      readonly address: string;
      readonly isBare?: true;
    }
  /** `there`: in the main table, through the device itself; with any metric if none is given. */
  | {
      readonly kind: 'route';
      readonly device: DeviceName;
      readonly destination: string;
      readonly metric?: number;
    }
  /** The value of a sysctl. */
  | { readonly kind: 'setting'; readonly name: string }
  /** The nft text of a table of family inet. */
  | { readonly kind: 'table'; readonly name: string };

export const THERE = 'there';

/** A thing with its desired value. */
export interface Wish {
  readonly thing: Thing;
  readonly value: string;
  /** Ids of things that must be right before. */
  readonly needs?: readonly string[];
  /** What to do if those cannot be kept: restore the previous value, or set `off`. */
  readonly failsClosed?: boolean | { readonly off: string };
  /** What does not work without it. */
  readonly effect?: string;
}

/** Its unique name in messages. */
export function idOf(thing: Thing): string {
  switch (thing.kind) {
    case 'state':
      return `the state of ${thing.device.name}`;
    case 'mtu':
      return `the MTU of ${thing.device.name}`;
    case 'address':
      return `the address ${thing.address} of ${thing.device.name}`;
    case 'route':
      return `the route ${thing.destination} dev ${thing.device.name}`;
    case 'setting':
      return `the sysctl ${thing.name}`;
    case 'table':
      return `the nft table ${thing.name}`;
  }
}

/** Reads things and sets them, in the network namespace of the calling thread. */
export class Things {
  readonly #nftables: NetlinkSocket | undefined;
  /** Fingerprints of the tables that this process has put in place. */
  readonly #tables = new Map<string, { readonly text: string; readonly fingerprint: string }>();

  /** @param nftables undefined if the kernel has none */
  constructor(nftables: NetlinkSocket | undefined) {
    this.#nftables = nftables;
  }

  /** @returns values by id, without those of things that could not be read */
  observe(things: Iterable<Thing>): Map<string, string | undefined> {
    const values = new Map<string, string | undefined>();
    const snapshot = new Snapshot();
    for (const thing of things) {
      try {
        values.set(idOf(thing), this.#observe(thing, snapshot));
      } catch (error) {
        if (!(error instanceof LinuxError)) throw error;
      }
    }
    return values;
  }

  #observe(thing: Thing, snapshot: Snapshot): string | undefined {
    switch (thing.kind) {
      case 'state':
        return snapshot.link(thing.device)?.state;
      case 'mtu':
        return snapshot.link(thing.device)?.mtu;
      case 'address':
        return snapshot.addresses(thing.device).has(thing.address) ? THERE : undefined;
      case 'route':
        return snapshot.routes(thing.device).has(routeKey(thing)) ? THERE : undefined;
      case 'setting':
        return readSysctl(thing.name);
      case 'table':
        return this.#observeTable(thing.name);
    }
  }

  #observeTable(name: string): string | undefined {
    if (this.#nftables === undefined) return undefined;
    const found = tableFingerprint(this.#nftables, name);
    if (found === undefined) return undefined;
    const known = this.#tables.get(name);
    return known?.fingerprint === found ? known.text : 'changed';
  }

  /**
   * @param value undefined removes it
   * @param isRepair whether to replace what has taken its place
   * @throws LametunError
   */
  set(thing: Thing, value: string | undefined, isRepair = false): void {
    switch (thing.kind) {
      case 'state':
        setLinkUp(thing.device, value === 'up');
        break;
      case 'mtu':
        setLinkMtu(thing.device, Number(value));
        break;
      case 'address':
        this.#setAddress(thing, value !== undefined);
        break;
      case 'route': {
        const { device, metric } = thing;
        const destination = parseCidr(thing.destination)!;
        if (value === undefined) removeRoute(device, destination, metric);
        else addRoute(device, destination, { metric, replaces: isRepair });
        break;
      }
      case 'setting':
        if (value !== undefined) writeSysctl(thing.name, value);
        break;
      case 'table':
        this.#setTable(thing.name, value);
    }
  }

  #setAddress({ device, address, isBare }: Extract<Thing, { kind: 'address' }>, isWanted: boolean): void {
    const network = parseCidr(address)!;
    if (isWanted) addAddress(device, network, isBare);
    else removeAddress(device, network);
  }

  #setTable(name: string, text: string | undefined): void {
    this.#tables.delete(name);
    if (text === undefined) removeTables([name]);
    else {
      const nftables = this.#nftables ?? openNftables(); // throws the reason
      this.#tables.set(name, { text, fingerprint: replaceTable(nftables, name, text) });
    }
  }
}

/** What the machine has; each list is read once. */
class Snapshot {
  readonly #links = new Map<number, { readonly state: string; readonly mtu: string } | undefined>();
  readonly #addresses = new Map<number, Set<string>>();
  readonly #routes = new Map<number, Set<string>>();

  link({ index }: DeviceName) {
    return remembered(this.#links, index, () => {
      const link = findLink(index);
      return link && { state: link.up ? 'up' : 'down', mtu: `${link.mtu}` };
    });
  }

  addresses({ index }: DeviceName): Set<string> {
    return remembered(this.#addresses, index, () => new Set(listAddresses(index).map(formatCidr)));
  }

  routes({ index }: DeviceName): Set<string> {
    return remembered(this.#routes, index, () => {
      const routes = listDeviceRoutes(index).filter(({ type }) => type === RTN.unicast);
      return new Set(
        routes.flatMap((route) => {
          const destination = formatCidr(route.destination);
          return [routeKey({ destination }), routeKey({ destination, metric: route.metric })];
        }),
      );
    });
  }
}

const routeKey = ({ destination, metric }: { destination: string; metric?: number }): string =>
  metric === undefined ? destination : `${destination} metric ${metric}`;

function remembered<K, V>(map: Map<K, V>, key: K, find: () => V): V {
  if (!map.has(key)) map.set(key, find());
  return map.get(key)!;
}

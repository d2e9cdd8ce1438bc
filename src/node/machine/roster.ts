import type { Endpoint } from '../../ip/endpoint.js';
import type { MapChange } from '../../protocol/map.js';
import type { Membership } from '../../protocol/messages.js';
import type { NodeId } from '../../protocol/node-id.js';
import type { NodeCommand } from './commands.js';
import type { KnownNames } from './known-names.js';
import type { MemberChecks } from './members.js';
import type { SideChannel } from './side-channel.js';

/** How long changes are collected before the names are announced, milliseconds. */
const NAMES_DELAY = 20;

export interface RosterOptions {
  readonly checks: MemberChecks;
  readonly known: KnownNames;
  readonly side: SideChannel;
  readonly push: (command: NodeCommand) => void;
}

/** Turns accepted changes of the map into peers of the interface, paths and names. */
export class Roster {
  readonly #options: RosterOptions;
  /** When to announce the names; at first at once. */
  #namesAt = -Infinity;

  constructor(options: RosterOptions) {
    this.#options = options;
  }

  nextTimeout(): number {
    return this.#namesAt;
  }

  /**
   * @param endpointOf the last endpoint of a member, by id
   * @param wallNow milliseconds since 1970
   * @returns whether anything has changed
   */
  apply(
    change: MapChange,
    now: number,
    wallNow: number,
    endpointOf: (id: NodeId) => Endpoint | undefined = () => undefined,
  ): boolean {
    const { checks, known, side, push } = this.#options;
    const { added, changed, removed } = checks.apply(change);
    for (const { id } of removed) {
      side.remove(id);
      push({ kind: 'remove-peer', id });
    }
    for (const member of added) {
      const { id, key, ipv4, ipv6 } = member;
      push({ kind: 'peer', id, key, addresses: { ipv4, ipv6 } });
      side.add(member, endpointOf(id), now);
    }
    for (const { name, key } of [...added, ...changed]) known.meet(name, key, wallNow);
    if (added.length + changed.length + removed.length === 0) return false;
    this.nameSoon(now);
    return true;
  }

  /** Announces the names soon: not once for each of thousands of new members. */
  nameSoon(now: number): void {
    this.#namesAt = Math.min(this.#namesAt, now + NAMES_DELAY);
  }

  /** Announces the names, if any have changed. */
  nameAll({ name, ipv4, ipv6 }: Membership): void {
    if (this.#namesAt === Infinity) return;
    this.#namesAt = Infinity;
    const { checks, push } = this.#options;
    const own = ipv4 === undefined || ipv6 === undefined ? [] : [{ name, ipv4, ipv6 }];
    push({ kind: 'names', nodes: [...own, ...checks.all()] });
  }
}

import type { NodeId, RequestId } from './node-id.js';
import type { HubAddress } from './token.js';

/**
 * What nodes and the hub say to each other inside the channel (`channel.ts`): JSON objects, one a message. Every one
 * that comes from outside is checked by the schemas in `schemas.ts` before anything else sees it.
 *
 * A node asks (`NodeMessage` with an `id`), the hub answers (`answer` with the same id in `re`); in between the hub
 * tells what has changed. Addresses and networks are text in their canonical form (`10.1.2.3`, `fd00::/64`), keys are
 * base64, times are milliseconds since 1970.
 */

/** The versions of this protocol that this program speaks, the newest last. */
export const PROTOCOL_VERSIONS: readonly number[] = [1];

/** The payload of the channel's first message, which is encrypted to the hub's key already. */
export interface Hello {
  readonly protocol: readonly number[];
  /** `lametun 0.1.0`: to be shown, and never to be decided on. */
  readonly program: string;
}

/** The payload of the hub's answer. With `refused` it is the last that is heard of it. */
export type Welcome =
  | { readonly protocol: number; readonly program: string }
  | { readonly refused: string; readonly protocol: readonly number[]; readonly program: string };

/** Where a node is inside the network. */
export interface Addresses {
  readonly ipv4: string;
  readonly ipv6: string;
}

/** A member as all members see it. */
export interface MapNode extends Addresses {
  readonly id: NodeId;
  /** A DNS label, unique in the network. */
  readonly name: string;
  /** The WireGuard public key, base64. It is also the key by which the member opened its channel. */
  readonly key: string;
  /** Its machine has no IPv6: what is sent to its IPv6 address arrives nowhere. */
  readonly ipv4Only?: true;
  /** Networks behind it that an administrator, or its invitation, has approved. */
  readonly shares: readonly string[];
}

/** Where in a network's history a map stands. Another epoch (a restored backup): all anew. */
export interface MapVersion {
  readonly epoch: string;
  readonly revision: number;
}

/** What all members have in common. */
export interface NetworkInfo {
  /** Random, for its lifetime. */
  readonly id: string;
  /** A DNS label. */
  readonly name: string;
  /** The ranges that members' addresses are from. They do not change. */
  readonly ipv4: string;
  readonly ipv6: string;
  /** Bytes. */
  readonly mtu: number;
}

/** What a node is told of itself alone. It has both addresses or none, and it has them unless it waits. */
export interface Membership extends Partial<Addresses> {
  readonly id: NodeId;
  readonly name: string;
  readonly admin: boolean;
  /** Waits for an administrator: until then there is no map, and it has no addresses. */
  readonly pending: boolean;
  /** The others think that it has no IPv6. */
  readonly ipv4Only?: true;
  /** Everything it offers. */
  readonly shares: readonly OfferedShare[];
}

export interface OfferedShare {
  readonly network: string;
  readonly state: 'approved' | 'pending' | 'refused';
  /** Why it is refused: `overlaps 192.168.1.0/24 of office`. */
  readonly why?: string;
}

/** Which process speaks for a node. Two that take turns are two machines with one key: a cloned state directory. */
export interface Incarnation {
  /** Random, made when the process starts. */
  readonly run: string;
  /** Grows with each connection of that process. */
  readonly turn: number;
}

/** What to do about those. */
export const TWIN_ADVICE =
  'one of the two has a copied state directory; stop the copy, run `lametun leave --force` there, and join again with a new token';

/** By which a node makes the relay listen to its UDP datagrams (`relay.ts`). */
export interface RelayCredentials {
  /** The hub's UDP port; its address is the one that the channel leads to. */
  readonly port: number;
  /** 8 bytes, base64. */
  readonly session: string;
  /** 32 bytes, base64. */
  readonly key: string;
}

export type NodeMessage =
  /** Whether the secret is good, and for what network. Uses nothing up. */
  | { readonly type: 'check-invitation'; readonly id: RequestId; readonly secret: string }
  /**
   * Becomes a member, by the channel's own key. Asked again by the same key it answers the same: the first answer
   * may have been lost.
   */
  | {
      readonly type: 'join';
      readonly id: RequestId;
      readonly secret: string;
      /** Wished for; the hub appends a number when it is taken. */
      readonly name: string;
      readonly shares: readonly string[];
    }
  /** A member of this network is here, and has this map (none: all of it). The map follows the answer. */
  | {
      readonly type: 'attach';
      readonly id: RequestId;
      /** The network's id: a hub that serves another one refuses. */
      readonly network: string;
      readonly as: Incarnation;
      readonly have?: MapVersion | undefined;
    }
  /** What it offers from now on, instead of what it offered before. */
  | { readonly type: 'share'; readonly id: RequestId; readonly shares: readonly string[] }
  /** What the node's machine can do. A node that says nothing has IPv6. */
  | { readonly type: 'host-info'; readonly id: RequestId; readonly ipv6: boolean }
  | { readonly type: 'leave'; readonly id: RequestId }
  /** Who is attached. */
  | { readonly type: 'who'; readonly id: RequestId }
  | { readonly type: 'admin'; readonly id: RequestId; readonly request: AdminRequest };

/** Answers by the type of what was asked. */
export interface Answers {
  readonly 'check-invitation': { readonly network: NetworkInfo };
  readonly join: { readonly network: NetworkInfo; readonly you: Membership };
  readonly attach: {
    readonly network: NetworkInfo;
    readonly you: Membership;
    readonly relay: RelayCredentials;
    /** Where the hub can be reached at present, the best address first. */
    readonly addresses: readonly HubAddress[];
  };
  readonly share: { readonly shares: readonly OfferedShare[] };
  readonly 'host-info': Record<string, never>;
  readonly leave: Record<string, never>;
  readonly who: { readonly online: readonly NodeId[] };
  readonly admin: AdminAnswer;
}

/** Why the hub does not do what was asked. */
export const REFUSALS = [
  'bad-request',
  'bad-secret', // unknown, wrong, revoked
  'expired',
  'used-up',
  'not-a-member', // the hub does not know the key; of a removed node it says `removed`
  'other-network', // the hub serves another one
  'twin', // another machine is connected with the same key
  'needs-force', // it would be done if it were asked for with force
  'not-an-admin',
  'not-found',
  'full', // the range is used up
  'overlap',
  'taken', // somebody else has that name
  'unavailable', // the database is away: ask again
  'too-many', // slow down
] as const;
export type Refusal = (typeof REFUSALS)[number];

/** Of these, what was asked names something that is not there, or cannot be: asking again changes nothing. */
export const WRONG_QUESTIONS: ReadonlySet<Refusal> = new Set([
  'bad-request',
  'not-found',
  'taken',
  'needs-force',
]);

export type HubMessage =
  | { readonly type: 'answer'; readonly re: RequestId; readonly value: unknown }
  | { readonly type: 'refused'; readonly re: RequestId; readonly code: Refusal; readonly message: string }
  /** All of the map; `self` included. */
  | { readonly type: 'map'; readonly version: MapVersion; readonly nodes: readonly MapNode[] }
  /** What has changed since `from`: nodes that are new or other than before, and ids of those that are gone. */
  | {
      readonly type: 'delta';
      readonly from: number;
      readonly version: MapVersion;
      readonly nodes: readonly MapNode[];
      readonly removed: readonly NodeId[];
    }
  /** Something of the node's own has changed: it was approved, renamed, made an administrator, a share was decided on. */
  | { readonly type: 'you'; readonly you: Membership }
  /** An administrator has removed this node from the network of that id: nothing else ends a membership. */
  | { readonly type: 'removed'; readonly network: string }
  /** The hub can be reached at these addresses from now on. */
  | { readonly type: 'addresses'; readonly addresses: readonly HubAddress[] }
  /** Which members are connected to the hub: all of them first, then those of whom it has changed. */
  | {
      readonly type: 'presence';
      readonly online: readonly NodeId[];
      /** `ago`: milliseconds since it was connected; absent: it was not since the hub was started. */
      readonly offline: readonly { readonly id: NodeId; readonly ago?: number }[];
    }
  /** Another machine, at this address, tried to connect with the same key, and was refused. */
  | { readonly type: 'twin'; readonly address: string };

/** What administrators ask: over the channel, or root on the hub's machine over its control socket. */
export type AdminRequest =
  | {
      readonly op: 'invite';
      /** Seconds from now. */
      readonly expires: number;
      readonly reusable: boolean;
      /** How many machines may join by it, if it is reusable; 100 if not given. */
      readonly uses?: number | undefined;
      readonly admin: boolean;
      /** Networks that whoever joins by it may share without being asked. */
      readonly shares: readonly string[];
    }
  | { readonly op: 'invites' }
  | { readonly op: 'revoke'; readonly invite: string }
  | { readonly op: 'nodes' }
  /** By name, or by id in decimal. */
  | {
      readonly op: 'remove';
      readonly node: string;
      /** Also the node on the hub's own machine. */
      readonly force?: boolean | undefined;
    }
  | {
      readonly op: 'rename';
      readonly node: string;
      /** A DNS label that nobody has. */
      readonly name: string;
    }
  /** Lets a waiting node in, with addresses, and approves what it offers: all, or only these. */
  | { readonly op: 'approve'; readonly node: string; readonly shares?: readonly string[] | undefined };

export interface InviteRow {
  /** Short, to name it by; no secret. */
  readonly id: string;
  readonly createdAt: number;
  readonly expiresAt: number;
  readonly reusable: boolean;
  /** How many have joined by it, and how many may. */
  readonly uses: number;
  readonly maxUses: number;
  readonly admin: boolean;
  readonly shares: readonly string[];
  readonly state: 'open' | 'used' | 'expired' | 'revoked';
  /** Names of who came by it. */
  readonly usedBy: readonly string[];
}

/** Without addresses as long as it waits. */
export interface NodeRow extends Omit<MapNode, keyof Addresses>, Partial<Addresses> {
  readonly admin: boolean;
  readonly pending: boolean;
  readonly online: boolean;
  readonly joinedAt: number;
  /** Milliseconds since it was connected; absent: it is, or was not since the hub was started. */
  readonly awayFor?: number;
  /** The addresses of two machines that connect with its key. */
  readonly twins?: readonly string[];
  readonly offered: readonly OfferedShare[];
}

/** By the request's `op`. */
export interface AdminAnswers {
  readonly invite: {
    readonly token: string;
    readonly invite: string;
    readonly expiresAt: number;
    /** How many machines may join by it. */
    readonly maxUses: number;
    /** What stands in the token: `203.0.113.5:443`. */
    readonly addresses: readonly string[];
    /** Such as that none of them is public. */
    readonly warnings: readonly string[];
  };
  readonly invites: { readonly invites: readonly InviteRow[] };
  /** How many nodes that waited for approval were removed with it. */
  readonly revoke: { readonly removed: number };
  readonly nodes: { readonly nodes: readonly NodeRow[] };
  readonly remove: { readonly name: string };
  readonly rename: {
    readonly name: string;
    /** What it was called until now. */
    readonly before: string;
  };
  readonly approve: { readonly name: string; readonly shares: readonly OfferedShare[] };
}
export type AdminAnswer = AdminAnswers[keyof AdminAnswers];

import type { NodeId, RequestId } from './node-id.js';
import type { HubAddress } from './token.js';

/**
 * The messages between nodes and the hub inside the channel (`channel.ts`): one JSON object each. The schemas in
 * `schemas.ts` check every message from outside before anything else sees it.
 *
 * A node sends a request (`NodeMessage` with an `id`), and the hub answers it (`answer` with the same id in `re`). In between,
 * the hub sends changes. Addresses and networks are text in their canonical form (`10.1.2.3`, `fd00::/64`), keys are
 * base64, times are milliseconds since 1970.
 */

/** The versions of this protocol that this program speaks, the newest last. */
export const PROTOCOL_VERSIONS: readonly number[] = [1];

/** The payload of the channel's first message, encrypted for the hub's key. */
export interface Hello {
  readonly protocol: readonly number[];
  /** `lametun 0.1.0`: for display only. */
  readonly program: string;
}

/** The payload of the hub's answer. With `refused` it is the last message. */
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
  /** The WireGuard public key, base64. The member opens its channel with the same key. */
  readonly key: string;
  /** Its machine has no IPv6, so packets to its IPv6 address are lost. */
  readonly ipv4Only?: true;
  /** Networks behind it, approved by an administrator or by its invitation. */
  readonly shares: readonly string[];
}

/** A map's position in the network's history. With another epoch (a restored backup) the whole map is needed. */
export interface MapVersion {
  readonly epoch: string;
  readonly revision: number;
}

/** The network, the same for all members. */
export interface NetworkInfo {
  /** Random; never changes. */
  readonly id: string;
  /** A DNS label. */
  readonly name: string;
  /** The ranges of members' addresses. They never change. */
  readonly ipv4: string;
  readonly ipv6: string;
  /** Bytes. */
  readonly mtu: number;
}

/** What the hub tells a node about itself. It has both addresses, or none while it is pending. */
export interface Membership extends Partial<Addresses> {
  readonly id: NodeId;
  readonly name: string;
  readonly admin: boolean;
  /** Not yet approved: it has no addresses, and gets no map. */
  readonly pending: boolean;
  /** The other members take it to have no IPv6. */
  readonly ipv4Only?: true;
  /** All its shares. */
  readonly shares: readonly OfferedShare[];
}

export interface OfferedShare {
  readonly network: string;
  readonly state: 'approved' | 'pending' | 'refused';
  /** Why it is refused: `overlaps 192.168.1.0/24 of office`. */
  readonly why?: string;
}

/** The process that speaks for a node. Two that take turns are two machines with one key: a copied state directory. */
export interface Incarnation {
  /** Random, chosen when the process starts. */
  readonly run: string;
  /** Grows with each connection of that process. */
  readonly turn: number;
}

/** What to do about twins. */
export const TWIN_ADVICE =
  'one of the two has a copied state directory; stop the copy, run `lametun leave --force` there, and join again with a new token';

/** With these a node binds its UDP endpoint at the relay (`relay.ts`). */
export interface RelayCredentials {
  /** The hub's UDP port, at the address of the channel. */
  readonly port: number;
  /** 8 bytes, base64. */
  readonly session: string;
  /** 32 bytes, base64. */
  readonly key: string;
}

export type NodeMessage =
  /** Asks whether a secret is valid, and for which network. Uses nothing up. */
  | { readonly type: 'check-invitation'; readonly id: RequestId; readonly secret: string }
  /**
   * Joins with the channel's key. A repeated request with the same key gets the same answer, because the first one may
   * have been lost.
   */
  | {
      readonly type: 'join';
      readonly id: RequestId;
      readonly secret: string;
      /** The wished name; the hub appends a number if it is taken. */
      readonly name: string;
      readonly shares: readonly string[];
    }
  /** Attaches as a member that has this map (none: send the whole map). The map follows the answer. */
  | {
      readonly type: 'attach';
      readonly id: RequestId;
      /** The network's id: a hub of another network refuses. */
      readonly network: string;
      readonly as: Incarnation;
      readonly have?: MapVersion | undefined;
    }
  /** Replaces the node's shares. */
  | { readonly type: 'share'; readonly id: RequestId; readonly shares: readonly string[] }
  /** What the node's machine can do. The default is IPv6. */
  | { readonly type: 'host-info'; readonly id: RequestId; readonly ipv6: boolean }
  | { readonly type: 'leave'; readonly id: RequestId }
  /** Who is attached. */
  | { readonly type: 'who'; readonly id: RequestId }
  | { readonly type: 'admin'; readonly id: RequestId; readonly request: AdminRequest };

/** Answers, by the type of the request. */
export interface Answers {
  readonly 'check-invitation': { readonly network: NetworkInfo };
  readonly join: { readonly network: NetworkInfo; readonly you: Membership };
  readonly attach: {
    readonly network: NetworkInfo;
    readonly you: Membership;
    readonly relay: RelayCredentials;
    /** The hub's present addresses, the best first. */
    readonly addresses: readonly HubAddress[];
  };
  readonly share: { readonly shares: readonly OfferedShare[] };
  readonly 'host-info': Record<string, never>;
  readonly leave: Record<string, never>;
  readonly who: { readonly online: readonly NodeId[] };
  readonly admin: AdminAnswer;
}

/** Why the hub refuses a request. */
export const REFUSALS = [
  'bad-request',
  'bad-secret', // unknown, wrong, revoked
  'expired',
  'used-up',
  'not-a-member', // the hub does not know the key; for a removed node it sends `removed`
  'other-network', // the hub serves another network
  'twin', // another machine is connected with the same key
  'needs-force', // works only with force
  'not-an-admin',
  'not-found',
  'full', // the range is used up
  'overlap',
  'taken', // another node has that name
  'unavailable', // the database is unreachable: try again
  'too-many', // slow down
] as const;
export type Refusal = (typeof REFUSALS)[number];

/** The request names something that does not exist or cannot exist: trying again is useless. */
export const WRONG_QUESTIONS: ReadonlySet<Refusal> = new Set([
  'bad-request',
  'not-found',
  'taken',
  'needs-force',
]);

export type HubMessage =
  | { readonly type: 'answer'; readonly re: RequestId; readonly value: unknown }
  | { readonly type: 'refused'; readonly re: RequestId; readonly code: Refusal; readonly message: string }
  /** The whole map, including the node itself. */
  | { readonly type: 'map'; readonly version: MapVersion; readonly nodes: readonly MapNode[] }
  /** The changes since `from`: new or changed nodes, and the ids of removed ones. */
  | {
      readonly type: 'delta';
      readonly from: number;
      readonly version: MapVersion;
      readonly nodes: readonly MapNode[];
      readonly removed: readonly NodeId[];
    }
  /** The node itself changed: it was approved, renamed or made an administrator, or a share was approved or refused. */
  | { readonly type: 'you'; readonly you: Membership }
  /** An administrator removed this node from the network with that id. Nothing else ends a membership. */
  | { readonly type: 'removed'; readonly network: string }
  /** The hub's addresses from now on. */
  | { readonly type: 'addresses'; readonly addresses: readonly HubAddress[] }
  /** Which members are connected to the hub: first all, then changes. */
  | {
      readonly type: 'presence';
      readonly online: readonly NodeId[];
      /** `ago`: milliseconds since it was connected; absent if it has not been since the hub started. */
      readonly offline: readonly { readonly id: NodeId; readonly ago?: number }[];
    }
  /** Another machine at this address tried to connect with the same key, and was refused. */
  | { readonly type: 'twin'; readonly address: string };

/** An administrator's request, over the channel, or from root over the hub's control socket. */
export type AdminRequest =
  | {
      readonly op: 'invite';
      /** Seconds from now. */
      readonly expires: number;
      readonly reusable: boolean;
      /** How many machines may use it, if it is reusable; default 100. */
      readonly uses?: number | undefined;
      readonly admin: boolean;
      /** Networks that a node of this invitation may share without approval. */
      readonly shares: readonly string[];
    }
  | { readonly op: 'invites' }
  | { readonly op: 'revoke'; readonly invite: string }
  | { readonly op: 'nodes' }
  /** By name, or by id in decimal. */
  | {
      readonly op: 'remove';
      readonly node: string;
      /** Remove even the node on the hub's own machine. */
      readonly force?: boolean | undefined;
    }
  | {
      readonly op: 'rename';
      readonly node: string;
      /** A free DNS label. */
      readonly name: string;
    }
  /** Approves a pending node, gives it addresses, and approves its shares: all, or only these. */
  | { readonly op: 'approve'; readonly node: string; readonly shares?: readonly string[] | undefined };

export interface InviteRow {
  /** A short id; not secret. */
  readonly id: string;
  readonly createdAt: number;
  readonly expiresAt: number;
  readonly reusable: boolean;
  /** How many machines used it, and how many may. */
  readonly uses: number;
  readonly maxUses: number;
  readonly admin: boolean;
  readonly shares: readonly string[];
  readonly state: 'open' | 'used' | 'expired' | 'revoked';
  /** The names of nodes that used it. */
  readonly usedBy: readonly string[];
}

/** Without addresses while it is pending. */
export interface NodeRow extends Omit<MapNode, keyof Addresses>, Partial<Addresses> {
  readonly admin: boolean;
  readonly pending: boolean;
  readonly online: boolean;
  readonly joinedAt: number;
  /** Milliseconds since it was connected; absent if it is connected, or has not been since the hub started. */
  readonly awayFor?: number;
  /** The addresses of two machines that connect with its key. */
  readonly twins?: readonly string[];
  readonly offered: readonly OfferedShare[];
}

/** Answers, by the request's `op`. */
export interface AdminAnswers {
  readonly invite: {
    readonly token: string;
    readonly invite: string;
    readonly expiresAt: number;
    /** How many machines may use it. */
    readonly maxUses: number;
    /** The addresses in the token: `203.0.113.5:443`. */
    readonly addresses: readonly string[];
    /** For instance that none of them is public. */
    readonly warnings: readonly string[];
  };
  readonly invites: { readonly invites: readonly InviteRow[] };
  /** How many pending nodes were removed with it. */
  readonly revoke: { readonly removed: number };
  readonly nodes: { readonly nodes: readonly NodeRow[] };
  readonly remove: { readonly name: string };
  readonly rename: {
    readonly name: string;
    /** Its previous name. */
    readonly before: string;
  };
  readonly approve: { readonly name: string; readonly shares: readonly OfferedShare[] };
}
export type AdminAnswer = AdminAnswers[keyof AdminAnswers];

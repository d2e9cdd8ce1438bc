import * as v from 'valibot';
import {
  flag,
  handle,
  hubAddresses,
  ipv4,
  ipv4Network,
  ipv6,
  ipv6Network,
  key,
  LIMIT,
  label,
  lifetime,
  list,
  mtu,
  network,
  nodeId,
  port,
  program,
  prose,
  requestId,
  revision,
  secret,
  session,
  shares,
  time,
  whole,
} from './fields.js';
import { areMapNodes } from './map-node.js';

/*
 * The messages between nodes and the hub inside the channel (`channel.ts`): one JSON object each. Each schema here defines
 * the type of a message, and checks it when it comes from outside, before anything else sees it (`parse.ts`). Schemas are
 * strict: an unknown field is an error.
 *
 * A node sends a request (`NodeMessage` with an `id`), and the hub answers it (`answer` with the same id in `re`). In between,
 * the hub sends changes. Addresses and networks are text in their canonical form (`10.1.2.3`, `fd00::/64`), keys are
 * base64, times are milliseconds since 1970.
 */

/** The type of what a schema accepts, read-only. */
export type Checked<Schema extends v.GenericSchema> = Unchanging<v.InferOutput<Schema>>;
type Unchanging<T> = unknown extends T
  ? T
  : T extends number
    ? T // the kinds of `brand.ts` too
    : { readonly [K in keyof T]: Unchanging<T[K]> };

/** The versions of this protocol that this program speaks, the newest last. */
export const PROTOCOL_VERSIONS: readonly number[] = [1];

const protocols = list(requestId, LIMIT.protocols);
/**
 * The payload of the channel's first message, encrypted for the hub's key. This and `Welcome` may have unknown fields, because
 * they are read before the versions are compared. `program` is `lametun 0.1.0`: for display only.
 */
export const hello = v.object({ protocol: protocols, program });
export type Hello = Checked<typeof hello>;

/** The payload of the hub's answer. A refusal is its last message. */
export const agreement = v.object({ protocol: requestId, program });
export const refusal = v.object({ refused: prose(500), protocol: protocols, program });
export type Welcome = Checked<typeof agreement> | Checked<typeof refusal>;

/** Where a node is inside the network. */
const addresses = { ipv4, ipv6 };
export type Addresses = Checked<v.StrictObjectSchema<typeof addresses, undefined>>;
const perhapsAddresses = { ipv4: v.exactOptional(ipv4), ipv6: v.exactOptional(ipv6) };

/** Its machine has no IPv6, so packets to its IPv6 address are lost. */
const ipv4Only = v.exactOptional(v.literal(true));

/** A member as all members see it. */
const mapNode = v.strictObject({
  id: nodeId,
  /** Unique in the network. */
  name: label,
  /** The WireGuard public key. The member opens its channel with the same key. */
  key,
  ...addresses,
  ipv4Only,
  /** Networks behind it, approved by an administrator or by its invitation. */
  shares,
});
export type MapNode = Checked<typeof mapNode>;

/** A map's position in the network's history. With another epoch (a restored backup) the whole map is needed. */
const mapVersion = v.strictObject({ epoch: handle, revision });
export type MapVersion = Checked<typeof mapVersion>;

/** The network, the same for all members. */
const networkInfo = v.strictObject({
  /** Random; never changes. */
  id: handle,
  name: label,
  /** The ranges of members' addresses. They never change. */
  ipv4: ipv4Network,
  ipv6: ipv6Network,
  mtu,
});
export type NetworkInfo = Checked<typeof networkInfo>;

const offered = v.strictObject({
  network,
  state: v.picklist(['approved', 'pending', 'refused'], 'must be approved, pending or refused'),
  /** Why it is refused: `overlaps 192.168.1.0/24 of office`. */
  why: v.exactOptional(prose(200)),
});
export type OfferedShare = Checked<typeof offered>;
const offers = list(offered, LIMIT.shares);

/** What the hub tells a node about itself. It has both addresses, or none while it is pending. */
const membership = v.pipe(
  v.strictObject({
    id: nodeId,
    name: label,
    ...perhapsAddresses,
    admin: flag,
    /** Not yet approved: it has no addresses, and gets no map. */
    pending: flag,
    /** The other members take it to have no IPv6. */
    ipv4Only,
    /** All its shares. */
    shares: offers,
  }),
  v.check(
    ({ ipv4, ipv6, pending }) =>
      (ipv4 === undefined) === (ipv6 === undefined) && (pending || ipv4 !== undefined),
    'must have two addresses, or be pending and have none',
  ),
);
export type Membership = Checked<typeof membership>;

/** The process that speaks for a node. Two that take turns are two machines with one key: a copied state directory. */
const incarnation = v.strictObject({
  /** Random, chosen when the process starts. */
  run: handle,
  /** Grows with each connection of that process. */
  turn: revision,
});
export type Incarnation = Checked<typeof incarnation>;

/**
 * With these a node binds its UDP endpoint at the relay (`relay.ts`). The port is the hub's UDP port, at the address of the
 * channel.
 */
const relay = v.strictObject({ port, session, key });
export type RelayCredentials = Checked<typeof relay>;

/** The address of a client as the hub sees it, or as a proxy reports it: for display only. */
const remoteAddress = prose(64);
/** A member by name, or by id in decimal. */
const nodeName = prose(63);
/** How many machines may use an invitation. */
const maxUses = whole(1, LIMIT.nodes);

/** An administrator's request, over the channel, or from root over the hub's control socket. */
export const adminRequest = v.variant('op', [
  v.strictObject({
    op: v.literal('invite'),
    expires: lifetime,
    reusable: flag,
    /** If it is reusable; default 100. */
    uses: v.optional(maxUses),
    admin: flag,
    /** Networks that a node of this invitation may share without approval. */
    shares,
  }),
  v.strictObject({ op: v.literal('invites') }),
  v.strictObject({ op: v.literal('revoke'), invite: handle }),
  v.strictObject({ op: v.literal('nodes') }),
  /** `force`: remove even the node on the hub's own machine. */
  v.strictObject({ op: v.literal('remove'), node: nodeName, force: v.optional(flag) }),
  /** `name` must be free. */
  v.strictObject({ op: v.literal('rename'), node: nodeName, name: label }),
  /** Approves a pending node, gives it addresses, and approves its shares: all, or only these. */
  v.strictObject({ op: v.literal('approve'), node: nodeName, shares: v.optional(shares) }),
]);
export type AdminRequest = Checked<typeof adminRequest>;

export const nodeMessage = v.variant('type', [
  /** Asks whether a secret is valid, and for which network. Uses nothing up. */
  v.strictObject({ type: v.literal('check-invitation'), id: requestId, secret }),
  /**
   * Joins with the channel's key. A repeated request with the same key gets the same answer, because the first one may have
   * been lost. The hub appends a number to the name if it is taken.
   */
  v.strictObject({ type: v.literal('join'), id: requestId, secret, name: label, shares }),
  /**
   * Attaches as a member that has this map (none: send the whole map). The map follows the answer. A hub of another network
   * refuses.
   */
  v.strictObject({
    type: v.literal('attach'),
    id: requestId,
    network: handle,
    as: incarnation,
    have: v.optional(mapVersion),
  }),
  /** Replaces the node's shares. */
  v.strictObject({ type: v.literal('share'), id: requestId, shares }),
  /** What the node's machine can do. The default is IPv6. */
  v.strictObject({ type: v.literal('host-info'), id: requestId, ipv6: flag }),
  v.strictObject({ type: v.literal('leave'), id: requestId }),
  /** Asks which members are attached. */
  v.strictObject({ type: v.literal('who'), id: requestId }),
  v.strictObject({ type: v.literal('admin'), id: requestId, request: adminRequest }),
]);
export type NodeMessage = Checked<typeof nodeMessage>;
type WithoutId<M> = M extends NodeMessage ? Omit<M, 'id'> : never;
/** What a node asks, before it has a number. */
export type NodeRequest = WithoutId<NodeMessage>;

const ids = list(nodeId, LIMIT.nodes);

/** Answers, by the type of the request; those to `admin` are below. */
export const answers = {
  'check-invitation': v.strictObject({ network: networkInfo }),
  join: v.strictObject({ network: networkInfo, you: membership }),
  /** With the hub's present addresses, the best first. */
  attach: v.strictObject({ network: networkInfo, you: membership, relay, addresses: hubAddresses }),
  share: v.strictObject({ shares: offers }),
  'host-info': v.strictObject({}),
  leave: v.strictObject({}),
  who: v.strictObject({ online: ids }),
};
export type Answers = {
  readonly [Type in keyof typeof answers]: Checked<(typeof answers)[Type]>;
} & { readonly admin: AdminAnswer };

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

/** `areMapNodes` checks the same, and faster; this schema can tell what is wrong. */
export const slowNodes = list(mapNode, LIMIT.nodes);
const trusted = v.custom<v.InferOutput<typeof slowNodes>>(() => true);
const nodes = v.lazy((input) => (areMapNodes(input) ? trusted : slowNodes));

export const hubMessage = v.variant('type', [
  /** `parseAnswer` checks the value, once the request is known. */
  v.strictObject({ type: v.literal('answer'), re: requestId, value: v.unknown() }),
  v.strictObject({
    type: v.literal('refused'),
    re: requestId,
    code: v.picklist(REFUSALS, 'must be a code of the protocol'),
    message: prose(500),
  }),
  /** The whole map, including the node itself. */
  v.strictObject({ type: v.literal('map'), version: mapVersion, nodes }),
  /** The changes since `from`: new or changed nodes, and the ids of removed ones. */
  v.strictObject({ type: v.literal('delta'), from: revision, version: mapVersion, nodes, removed: ids }),
  /** The node itself changed: it was approved, renamed or made an administrator, or a share was approved or refused. */
  v.strictObject({ type: v.literal('you'), you: membership }),
  /** An administrator removed this node from the network with that id. Nothing else ends a membership. */
  v.strictObject({ type: v.literal('removed'), network: handle }),
  /** The hub's addresses from now on. */
  v.strictObject({ type: v.literal('addresses'), addresses: hubAddresses }),
  /** Which members are connected to the hub: first all, then changes. */
  v.strictObject({
    type: v.literal('presence'),
    online: ids,
    /** `ago`: milliseconds since it was connected; absent if it has not been since the hub started. */
    offline: list(v.strictObject({ id: nodeId, ago: v.exactOptional(time) }), LIMIT.nodes),
  }),
  /** Another machine at this address tried to connect with the same key, and was refused. */
  v.strictObject({ type: v.literal('twin'), address: remoteAddress }),
]);
export type HubMessage = Checked<typeof hubMessage>;

const inviteRow = v.strictObject({
  /** Short; not secret. */
  id: handle,
  createdAt: time,
  expiresAt: time,
  reusable: flag,
  /** How many machines used it. */
  uses: whole(0, LIMIT.nodes),
  maxUses,
  admin: flag,
  shares,
  state: v.picklist(['open', 'used', 'expired', 'revoked'], 'must be open, used, expired or revoked'),
  /** The names of nodes that used it. */
  usedBy: list(label, LIMIT.nodes),
});
export type InviteRow = Checked<typeof inviteRow>;

/** Without addresses while it is pending. */
const nodeRow = v.strictObject({
  ...mapNode.entries,
  ...perhapsAddresses,
  admin: flag,
  pending: flag,
  online: flag,
  joinedAt: time,
  /** Milliseconds since it was connected; absent if it is connected, or has not been since the hub started. */
  awayFor: v.exactOptional(time),
  /** The addresses of two machines that connect with its key. */
  twins: v.exactOptional(list(remoteAddress, 2)),
  offered: offers,
});
export type NodeRow = Checked<typeof nodeRow>;

/** Answers, by the request's `op`. */
export const adminAnswers = {
  invite: v.strictObject({
    token: prose(4096),
    invite: handle,
    expiresAt: time,
    maxUses,
    /** The addresses in the token: `203.0.113.5:443`. */
    addresses: list(prose(300), LIMIT.addresses),
    /** For instance that none of them is public. */
    warnings: list(prose(500), LIMIT.addresses),
  }),
  invites: v.strictObject({ invites: list(inviteRow, LIMIT.invites) }),
  /** How many pending nodes were removed with it. */
  revoke: v.strictObject({ removed: whole(0, LIMIT.nodes) }),
  nodes: v.strictObject({ nodes: list(nodeRow, LIMIT.nodes) }),
  remove: v.strictObject({ name: label }),
  /** `before`: its previous name. */
  rename: v.strictObject({ name: label, before: label }),
  approve: v.strictObject({ name: label, shares: offers }),
};
export type AdminAnswers = { readonly [Op in keyof typeof adminAnswers]: Checked<(typeof adminAnswers)[Op]> };
export type AdminAnswer = AdminAnswers[keyof AdminAnswers];

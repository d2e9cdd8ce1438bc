import * as v from 'valibot';
import { LametunError } from '../errors.js';
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
import {
  type AdminAnswers,
  type AdminRequest,
  type Answers,
  type Hello,
  type HubMessage,
  type NodeMessage,
  REFUSALS,
  type Welcome,
} from './messages.js';
import type { HubAddress } from './token.js';

/**
 * Checks messages before anything else sees them. Strict: an unknown field is an error. Only the two payloads of the
 * handshake may have unknown fields, because they are read before the versions are compared.
 */

const protocols = list(requestId, LIMIT.protocols);
const hello = v.object({ protocol: protocols, program });
const agreement = v.object({ protocol: requestId, program });
const refusal = v.object({ refused: prose(500), protocol: protocols, program });

/** @returns undefined when it is invalid */
export function parseHello(value: unknown): Hello | undefined {
  const result = v.safeParse(hello, value);
  return result.success ? result.output : undefined;
}

/** @returns undefined when it is invalid */
export function parseWelcome(value: unknown): Welcome | undefined {
  const isRefusal = typeof value === 'object' && value !== null && 'refused' in value;
  const result = v.safeParse(isRefusal ? refusal : agreement, value);
  return result.success ? result.output : undefined;
}

const ipv4Only = v.exactOptional(v.literal(true));
const mapNode = v.strictObject({ id: nodeId, name: label, key, ipv4, ipv6, ipv4Only, shares });
const mapVersion = v.strictObject({ epoch: handle, revision });
const networkInfo = v.strictObject({ id: handle, name: label, ipv4: ipv4Network, ipv6: ipv6Network, mtu });
const offered = v.strictObject({
  network,
  state: v.picklist(['approved', 'pending', 'refused'], 'must be approved, pending or refused'),
  why: v.exactOptional(prose(200)),
});
const offers = list(offered, LIMIT.shares);
const perhapsAddresses = { ipv4: v.exactOptional(ipv4), ipv6: v.exactOptional(ipv6) };
const membership = v.pipe(
  v.strictObject({
    id: nodeId,
    name: label,
    ...perhapsAddresses,
    admin: flag,
    pending: flag,
    ipv4Only,
    shares: offers,
  }),
  v.check(
    ({ ipv4, ipv6, pending }) =>
      (ipv4 === undefined) === (ipv6 === undefined) && (pending || ipv4 !== undefined),
    'must have two addresses, or be pending and have none',
  ),
);
const relay = v.strictObject({ port, session, key });

/** As the hub sees it, or as a proxy reports it: for display only. */
const remoteAddress = prose(64);

/** A member by name, or by id in decimal. */
const nodeName = prose(63);
const maxUses = whole(1, LIMIT.nodes);
const adminRequest = v.variant('op', [
  v.strictObject({
    op: v.literal('invite'),
    expires: lifetime,
    reusable: flag,
    uses: v.optional(maxUses),
    admin: flag,
    shares,
  }),
  v.strictObject({ op: v.literal('invites') }),
  v.strictObject({ op: v.literal('revoke'), invite: handle }),
  v.strictObject({ op: v.literal('nodes') }),
  v.strictObject({ op: v.literal('remove'), node: nodeName, force: v.optional(flag) }),
  v.strictObject({ op: v.literal('rename'), node: nodeName, name: label }),
  v.strictObject({ op: v.literal('approve'), node: nodeName, shares: v.optional(shares) }),
]);

const incarnation = v.strictObject({ run: handle, turn: revision });
const nodeMessage = v.variant('type', [
  v.strictObject({ type: v.literal('check-invitation'), id: requestId, secret }),
  v.strictObject({ type: v.literal('join'), id: requestId, secret, name: label, shares }),
  v.strictObject({
    type: v.literal('attach'),
    id: requestId,
    network: handle,
    as: incarnation,
    have: v.optional(mapVersion),
  }),
  v.strictObject({ type: v.literal('share'), id: requestId, shares }),
  v.strictObject({ type: v.literal('host-info'), id: requestId, ipv6: flag }),
  v.strictObject({ type: v.literal('leave'), id: requestId }),
  v.strictObject({ type: v.literal('who'), id: requestId }),
  v.strictObject({ type: v.literal('admin'), id: requestId, request: adminRequest }),
]);

/** `areMapNodes` checks the same, and faster; this schema can tell what is wrong. */
export const slowNodes = list(mapNode, LIMIT.nodes);
const trusted = v.custom<v.InferOutput<typeof slowNodes>>(() => true);
const nodes = v.lazy((input) => (areMapNodes(input) ? trusted : slowNodes));
const ids = list(nodeId, LIMIT.nodes);
const absence = v.strictObject({ id: nodeId, ago: v.exactOptional(time) });
const hubMessage = v.variant('type', [
  v.strictObject({ type: v.literal('answer'), re: requestId, value: v.unknown() }),
  v.strictObject({
    type: v.literal('refused'),
    re: requestId,
    code: v.picklist(REFUSALS, 'must be a code of the protocol'),
    message: prose(500),
  }),
  v.strictObject({ type: v.literal('map'), version: mapVersion, nodes }),
  v.strictObject({ type: v.literal('delta'), from: revision, version: mapVersion, nodes, removed: ids }),
  v.strictObject({ type: v.literal('you'), you: membership }),
  v.strictObject({ type: v.literal('removed'), network: handle }),
  v.strictObject({ type: v.literal('addresses'), addresses: hubAddresses }),
  v.strictObject({ type: v.literal('presence'), online: ids, offline: list(absence, LIMIT.nodes) }),
  v.strictObject({ type: v.literal('twin'), address: remoteAddress }),
]);

const inviteRow = v.strictObject({
  id: handle,
  createdAt: time,
  expiresAt: time,
  reusable: flag,
  uses: whole(0, LIMIT.nodes),
  maxUses,
  admin: flag,
  shares,
  state: v.picklist(['open', 'used', 'expired', 'revoked'], 'must be open, used, expired or revoked'),
  usedBy: list(label, LIMIT.nodes),
});
const nodeRow = v.strictObject({
  ...mapNode.entries,
  ...perhapsAddresses,
  admin: flag,
  pending: flag,
  online: flag,
  joinedAt: time,
  awayFor: v.exactOptional(time),
  twins: v.exactOptional(list(remoteAddress, 2)),
  offered: offers,
});

const adminAnswers = {
  invite: v.strictObject({
    token: prose(4096),
    invite: handle,
    expiresAt: time,
    maxUses,
    addresses: list(prose(300), LIMIT.addresses),
    warnings: list(prose(500), LIMIT.addresses),
  }),
  invites: v.strictObject({ invites: list(inviteRow, LIMIT.invites) }),
  revoke: v.strictObject({ removed: whole(0, LIMIT.nodes) }),
  nodes: v.strictObject({ nodes: list(nodeRow, LIMIT.nodes) }),
  remove: v.strictObject({ name: label }),
  rename: v.strictObject({ name: label, before: label }),
  approve: v.strictObject({ name: label, shares: offers }),
} satisfies { [Op in keyof AdminAnswers]: v.GenericSchema<unknown, AdminAnswers[Op]> };

const answers = {
  'check-invitation': v.strictObject({ network: networkInfo }),
  join: v.strictObject({ network: networkInfo, you: membership }),
  attach: v.strictObject({ network: networkInfo, you: membership, relay, addresses: hubAddresses }),
  share: v.strictObject({ shares: offers }),
  'host-info': v.strictObject({}),
  leave: v.strictObject({}),
  who: v.strictObject({ online: ids }),
} satisfies { [Type in Exclude<keyof Answers, 'admin'>]: v.GenericSchema<unknown, Answers[Type]> };

/** @throws LametunError('protocol') that names the field, never its value */
export function parseNodeMessage(value: unknown): NodeMessage {
  return parse(nodeMessage, value);
}

/** `parseAnswer` checks the `value` of an answer, once its request is known. @throws LametunError('protocol') */
export function parseHubMessage(value: unknown): HubMessage {
  return parse(hubMessage, value);
}

/** @throws LametunError('protocol') */
export function parseAnswer<T extends Exclude<keyof Answers, 'admin'>>(type: T, value: unknown): Answers[T] {
  return parse(answers[type] as unknown as v.GenericSchema<unknown, Answers[T]>, value);
}

/** @throws LametunError('protocol') */
export function parseAdminAnswer<Op extends keyof AdminAnswers>(op: Op, value: unknown): AdminAnswers[Op] {
  return parse(adminAnswers[op] as unknown as v.GenericSchema<unknown, AdminAnswers[Op]>, value);
}

/** A request on the hub's control socket. @throws LametunError('protocol') */
export function parseAdminRequest(value: unknown): AdminRequest {
  return parse(adminRequest, value);
}

/** What comes over a node's control socket. */
export const isHubAddresses = (value: unknown): value is readonly HubAddress[] =>
  v.is(v.pipe(hubAddresses, v.minLength(1)), value);

function parse<T>(schema: v.GenericSchema<unknown, T>, value: unknown): T {
  const result = v.safeParse(schema, value, { abortEarly: true });
  if (result.success) return result.output;
  throw new LametunError('protocol', explain(result.issues[0]));
}

/** Valibot's own messages repeat the value, which may be secret, or as long as the message. These do not. */
function explain(issue: v.BaseIssue<unknown>): string {
  const path = issue.path?.map(({ key }) => safeKey(key)).join('.') ?? '';
  const where = path === '' ? 'the message' : path;
  if (issue.type === 'strict_object' && issue.expected === 'never') return `${where} is unknown`;
  if (issue.type === 'strict_object' && issue.path !== undefined && issue.received === 'undefined')
    return `${where} is missing`;
  if (OURS.has(issue.type)) return `${where} ${issue.message}`;
  return `${where} must be ${issue.expected === 'Object' ? 'an object' : (issue.expected ?? 'something else')}`;
}

/** The kinds of issue whose texts are in `fields.ts` or above. */
const OURS = new Set([
  'string',
  'regex',
  'number',
  'integer',
  'min_value',
  'max_value',
  'boolean',
  'check',
  'array',
  'max_length',
  'picklist',
]);

/** A key of an untrusted object. */
const safeKey = (key: unknown): string =>
  typeof key === 'number' ? String(key) : typeof key === 'string' && /^\w{1,32}$/.test(key) ? key : '?';

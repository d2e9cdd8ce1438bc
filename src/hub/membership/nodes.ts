import type { Kysely, Selectable } from 'kysely';
import { formatAddress } from '../../ip/address.js';
import { type Cidr, formatCidr, parseCidr } from '../../ip/cidr.js';
import { memberRange } from '../../protocol/layout.js';
import type { NodesTable, Schema } from '../store/schema.js';
import type { Change } from './change.js';
import { openInvite, sharesOf } from './invites.js';
import { toLabel, uniqueName, whyNoName } from './names.js';
import { hostAddress } from './ranges.js';
import { Refused } from './refused.js';
import { canonicalNetwork, isAllowed, MAX_SHARES, whyNotShareable } from './shares.js';

type NodeRow = Selectable<NodesTable>;

export interface Joining {
  /** Base64. */
  readonly key: string;
  readonly secretHash: string;
  readonly name: string;
  readonly shares: readonly string[];
}

/**
 * Makes the holder of a key a member, or a waiting one. Who is that already stays what it is.
 *
 * @returns its id
 * @throws Refused
 */
export async function join(change: Change, joining: Joining): Promise<number> {
  const { db, network, now } = change;
  const already = await db
    .selectFrom('nodes')
    .select('id')
    .where('key', '=', joining.key)
    .where('state', '!=', 'removed')
    .executeTakeFirst();
  if (already !== undefined) {
    change.touch(already.id);
    return already.id;
  }
  const invite = await openInvite(db, joining.secretHash, now);
  const waits = network.policy === 'ask';
  if (waits) await roomToWait(change, invite.id);
  const id = change.nextNode();
  const node: NodeRow = {
    id,
    key: joining.key,
    name: await freeName(change, joining.name),
    ...(waits ? { ipv4: null, ipv6: null } : await freeAddresses(change, id)),
    ipv4_only: 0,
    admin: invite.admin,
    state: waits ? 'pending' : 'active',
    revision: waits ? 0 : change.revise(),
    invite: invite.id,
    joined_at: now,
    removed_at: null,
  };
  await db.insertInto('nodes').values(node).execute();
  await db
    .updateTable('invites')
    .set({ uses: invite.uses + 1 })
    .where('id', '=', invite.id)
    .execute();
  await offer(change, node, joining.shares);
  change.touch(node.id);
  return node.id;
}

/** Nodes that wait for approval, by one invitation and in all. They have no addresses: a node gets those with its approval. */
const WAITING = { byInvite: 100, inAll: 1_000 } as const;

/** @throws Refused, `full`, when as many as may wait do so already */
async function roomToWait({ db }: Change, invite: string): Promise<void> {
  const waiting = db
    .selectFrom('nodes')
    .select((eb) => eb.fn.countAll().as('count'))
    .where('state', '=', 'pending');
  const { count } = await waiting.executeTakeFirstOrThrow();
  const { count: own } = await waiting.where('invite', '=', invite).executeTakeFirstOrThrow();
  if (Number(count) < WAITING.inAll && Number(own) < WAITING.byInvite) return;
  throw new Refused(
    'full',
    `${Number(own) < WAITING.byInvite ? `${WAITING.inAll} nodes` : `${WAITING.byInvite} nodes of this invitation`} wait for approval: ask an administrator to approve or remove some`,
  );
}

/** Removes the nodes that wait for approval and came by an invitation. @returns how many */
export async function removeWaiting(change: Change, invite: string): Promise<number> {
  const waiting = await change.db
    .selectFrom('nodes')
    .select('id')
    .where('state', '=', 'pending')
    .where('invite', '=', invite)
    .execute();
  for (const { id } of waiting) await remove(change, id);
  return waiting.length;
}

/** How many addresses a range has, without the network's own address and the broadcast address. */
const hostsOf = ({ prefix }: Cidr): number => 2 ** (32 - prefix) - 2;

async function freeName({ db }: Change, wish: string): Promise<string> {
  const label = toLabel(wish);
  const current = db.selectFrom('nodes').select('name').where('state', '!=', 'removed');
  if ((await current.where('name', '=', label).executeTakeFirst()) === undefined) return label;
  // As many letters as a number leaves of the longest label.
  const similar = await current.where('name', 'like', `${label.slice(0, 50)}%`).execute();
  const taken = new Set(similar.map(({ name }) => name));
  return uniqueName(label, (name) => taken.has(name));
}

/**
 * The host number is the id as long as there are enough, so that the first node is `.1`.
 *
 * @throws Refused, `full`, when all are given away
 */
async function freeAddresses({ db, network }: Change, id: number): Promise<{ ipv4: string; ipv6: string }> {
  const [range4, range6] = [network.ipv4, network.ipv6].map((text) => memberRange(parseCidr(text)!)) as [
    Cidr,
    Cidr,
  ];
  const hosts = hostsOf(range4);
  const address = (host: number): string => formatAddress(hostAddress(range4, host));
  const current = db.selectFrom('nodes').select('ipv4').where('state', '=', 'active');
  let host = ((id - 1) % hosts) + 1;
  if ((await current.where('ipv4', '=', address(host)).executeTakeFirst()) !== undefined) {
    const taken = new Set((await current.execute()).map(({ ipv4 }) => ipv4));
    const end = host;
    do {
      host = (host % hosts) + 1;
      if (host === end)
        throw new Refused(
          'full',
          `all ${hosts} addresses of ${formatCidr(range4)} are in use: ask an administrator to remove nodes that are gone`,
        );
    } while (taken.has(address(host)));
  }
  return { ipv4: address(host), ipv6: formatAddress(hostAddress(range6, host)) };
}

/** Whether a node's machine has IPv6. @throws Refused, `not-a-member` */
export async function setInside(change: Change, id: number, ipv6: boolean): Promise<void> {
  const node = await currentNode(change, id);
  const ipv4_only = ipv6 ? 0 : 1;
  change.touch(id);
  if (node.ipv4_only === ipv4_only) return;
  await change.db.updateTable('nodes').set({ ipv4_only }).where('id', '=', id).execute();
  await revise(change, node);
}

/** Replaces what a node offers. @throws Refused, `not-a-member` */
export async function share(change: Change, id: number, networks: readonly string[]): Promise<void> {
  const node = await currentNode(change, id);
  if (await offer(change, node, networks)) await revise(change, node);
  change.touch(id);
}

/** @returns whether the approved ones have changed */
async function offer(change: Change, node: NodeRow, texts: readonly string[]): Promise<boolean> {
  if (texts.length > MAX_SHARES)
    throw new Refused('bad-request', `at most ${MAX_SHARES} networks can be shared`);
  const wanted = new Set(
    texts.map((text) => {
      const network = canonicalNetwork(text);
      if (network === undefined) throw new Refused('bad-request', `${text} is not a network: 192.168.1.0/24`);
      return network;
    }),
  );
  const { db } = change;
  const before = await db.selectFrom('shares').selectAll().where('node', '=', node.id).execute();
  if (wanted.size === 0 && before.length === 0) return false;
  const approved = new Set(before.filter(({ state }) => state === 'approved').map(({ network }) => network));
  const judge = await judgeOf(change, node);
  const after = [...wanted].map((network) =>
    approved.has(network)
      ? { node: node.id, network, state: 'approved' as const, why: null }
      : judge(network),
  );
  await db.deleteFrom('shares').where('node', '=', node.id).execute();
  if (after.length > 0) await db.insertInto('shares').values(after).execute();
  const now = after.filter(({ state }) => state === 'approved');
  return now.length !== approved.size || now.some(({ network }) => !approved.has(network));
}

interface Judgement {
  node: number;
  network: string;
  state: 'approved' | 'pending' | 'refused';
  why: string | null;
}

/** Decides on what a node offers, by what the others offer and what its invitation allows. */
async function judgeOf({ db, network }: Change, node: NodeRow): Promise<(share: string) => Judgement> {
  const others = await db
    .selectFrom('shares')
    .innerJoin('nodes', 'nodes.id', 'shares.node')
    .select(['shares.network', 'nodes.name as node'])
    .where('shares.node', '!=', node.id)
    .where('shares.state', '!=', 'refused')
    .where('nodes.state', '!=', 'removed')
    .execute();
  const invite =
    node.invite === null
      ? undefined
      : await db
          .selectFrom('invites')
          .select('shares')
          .where('id', '=', node.invite)
          .where('revoked_at', 'is', null)
          .executeTakeFirst();
  const allowed = invite === undefined ? [] : sharesOf(invite);
  return (share) => {
    const why = whyNotShareable(share, [network.ipv4, network.ipv6], others) ?? null;
    const state = why !== null ? 'refused' : isAllowed(share, allowed) ? 'approved' : 'pending';
    return { node: node.id, network: share, state, why };
  };
}

/** Lets a waiting node in, with addresses, and approves what it offers, all or only these. @returns its name. @throws Refused */
export async function approve(change: Change, id: number, networks?: readonly string[]): Promise<string> {
  const { db } = change;
  const node = await currentNode(change, id);
  const offered = await db.selectFrom('shares').selectAll().where('node', '=', id).execute();
  const chosen = networks?.map((text) => canonicalNetwork(text) ?? text);
  const unknown = chosen?.find((network) => !offered.some((share) => share.network === network));
  if (unknown !== undefined) throw new Refused('not-found', `${node.name} does not offer ${unknown}`);
  const judge = await judgeOf(change, node);
  let approved = 0;
  for (const { network, state } of offered) {
    if (state === 'approved' || chosen?.includes(network) === false) continue;
    const { why } = judge(network);
    if (why !== null) {
      if (chosen !== undefined) throw new Refused('overlap', `${network} cannot be shared: ${why}`);
      continue;
    }
    await db
      .updateTable('shares')
      .set({ state: 'approved', why: null })
      .where('node', '=', id)
      .where('network', '=', network)
      .execute();
    approved++;
  }
  if (node.state === 'pending') {
    await db
      .updateTable('nodes')
      .set({ state: 'active', ...(await freeAddresses(change, id)), revision: change.revise() })
      .where('id', '=', id)
      .execute();
  } else if (approved > 0) await revise(change, node);
  change.touch(id);
  return node.name;
}

/** Calls a node something else. @returns what it was called before. @throws Refused */
export async function rename(change: Change, id: number, name: string): Promise<string> {
  const why = whyNoName(name);
  if (why !== undefined) throw new Refused('bad-request', `nobody can be called ${name}: ${why}`);
  const node = await currentNode(change, id);
  change.touch(id);
  if (node.name === name) return name;
  const { db } = change;
  const other = await db
    .selectFrom('nodes')
    .select('id')
    .where('name', '=', name)
    .where('state', '!=', 'removed')
    .executeTakeFirst();
  if (other !== undefined)
    throw new Refused('taken', `node ${other.id} is called ${name}: choose another name`);
  await db.updateTable('nodes').set({ name }).where('id', '=', id).execute();
  await revise(change, node);
  return node.name;
}

/** Takes a node out; again, it changes nothing. */
export async function remove(change: Change, id: number): Promise<void> {
  const { db, now } = change;
  const node = await db.selectFrom('nodes').selectAll().where('id', '=', id).executeTakeFirst();
  change.touch(id);
  if (node === undefined || node.state === 'removed') return;
  await db.deleteFrom('shares').where('node', '=', id).execute();
  await db
    .updateTable('nodes')
    .set({ state: 'removed', removed_at: now, revision: node.state === 'active' ? change.revise() : 0 })
    .where('id', '=', id)
    .execute();
}

/** The current node of that name, or id in decimal. @throws Refused when there is none */
export async function findNode(db: Kysely<Schema>, ref: string): Promise<NodeRow> {
  const nodes = db.selectFrom('nodes').selectAll().where('state', '!=', 'removed');
  const id = /^\d{1,10}$/.test(ref) ? Number(ref) : undefined;
  const found = await (id === undefined
    ? nodes.where('name', '=', ref)
    : nodes.where('id', '=', id)
  ).executeTakeFirst();
  if (found === undefined) throw new Refused('not-found', `there is no node ${ref}`);
  return found;
}

async function currentNode({ db }: Change, id: number): Promise<NodeRow> {
  const node = await db
    .selectFrom('nodes')
    .selectAll()
    .where('id', '=', id)
    .where('state', '!=', 'removed')
    .executeTakeFirst();
  if (node === undefined) throw new Refused('not-a-member', 'this node is no member of the network any more');
  return node;
}

async function revise(change: Change, node: NodeRow): Promise<void> {
  if (node.state !== 'active') return; // the map does not show it
  await change.db.updateTable('nodes').set({ revision: change.revise() }).where('id', '=', node.id).execute();
}

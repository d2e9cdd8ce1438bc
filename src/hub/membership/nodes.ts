import { formatAddress } from '../../ip/address.js';
import { type Cidr, formatCidr, parseCidr } from '../../ip/cidr.js';
import { memberRange } from '../../protocol/layout.js';
import type { NodeId } from '../../protocol/node-id.js';
import type { Change } from './change.js';
import { openInvite, sharesOf } from './invites.js';
import { toName, uniqueName, whyNoName } from './names.js';
import { hostAddress } from './ranges.js';
import { Refused } from './refused.js';
import { canonicalNetwork, canonicalNetworks, isAllowed, whyNotShareable } from './shares.js';
import type { NodeRecord, ReadTables, ShareRecord } from './tables.js';

export interface Joining {
  /** Base64. */
  readonly key: string;
  readonly secretHash: string;
  readonly name: string;
  readonly shares: readonly string[];
}

/**
 * Makes the holder of a key a member, or a pending node. A node that has joined before stays what it is.
 *
 * @returns its id
 * @throws Refused
 */
export async function join(change: Change, joining: Joining): Promise<number> {
  const { tables, network, now } = change;
  const [already] = await tables.nodes({ key: joining.key });
  if (already !== undefined) {
    change.touch(already.id);
    return already.id;
  }
  const invite = await openInvite(tables, joining.secretHash, now);
  const waits = network.policy === 'ask';
  if (waits) await roomToWait(change, invite.id);
  const id = change.nextNode();
  const node: NodeRecord = {
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
  await tables.insertNode(node);
  await tables.updateInvite(invite.id, { uses: invite.uses + 1 });
  await offer(change, node, joining.shares);
  change.touch(node.id);
  return node.id;
}

/** The most pending nodes, by one invitation and in all. They have no addresses: a node gets those with its approval. */
const WAITING = { byInvite: 100, inAll: 1_000 } as const;

/** @throws Refused, `full` if too many nodes are pending */
async function roomToWait({ tables }: Change, invite: string): Promise<void> {
  const own = (await tables.nodes({ pendingBy: invite })).length;
  if (own < WAITING.byInvite && (await tables.pendingCount()) < WAITING.inAll) return;
  throw new Refused(
    'full',
    `${own < WAITING.byInvite ? `${WAITING.inAll} nodes` : `${WAITING.byInvite} nodes of this invitation`} are pending approval: ask an administrator to approve or remove some`,
  );
}

/** Removes the pending nodes that joined with an invitation. @returns how many */
export async function removeWaiting(change: Change, invite: string): Promise<number> {
  const waiting = await change.tables.nodes({ pendingBy: invite });
  for (const { id } of waiting) await remove(change, id);
  return waiting.length;
}

/** How many addresses a range has, without the network's own address and the broadcast address. */
const hostsOf = ({ prefix }: Cidr): number => 2 ** (32 - prefix) - 2;

async function freeName({ tables }: Change, wish: string): Promise<string> {
  const label = toName(wish);
  if ((await tables.nodes({ name: label })).length === 0) return label;
  // An appended number may shorten the label, but never to fewer letters than these.
  const taken = new Set(await tables.names(label.slice(0, 50)));
  return uniqueName(label, (name) => taken.has(name));
}

/**
 * The host number is the id while there are enough, so that the first node is `.1`.
 *
 * @throws Refused, `full` if all are in use
 */
async function freeAddresses(
  { tables, network }: Change,
  id: NodeId,
): Promise<{ ipv4: string; ipv6: string }> {
  const [range4, range6] = [network.ipv4, network.ipv6].map((text) => memberRange(parseCidr(text)!)) as [
    Cidr,
    Cidr,
  ];
  const hosts = hostsOf(range4);
  const address = (host: number): string => formatAddress(hostAddress(range4, host));
  let host = ((id - 1) % hosts) + 1;
  if ((await tables.nodes({ ipv4: address(host) })).length > 0) {
    const taken = new Set(await tables.addresses());
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
export async function setInside(change: Change, id: NodeId, ipv6: boolean): Promise<void> {
  const node = await currentNode(change, id);
  const ipv4_only = ipv6 ? 0 : 1;
  change.touch(id);
  if (node.ipv4_only === ipv4_only) return;
  await change.tables.updateNode(id, { ipv4_only });
  await revise(change, node);
}

/** Replaces a node's shares. @throws Refused, `not-a-member` */
export async function share(change: Change, id: NodeId, networks: readonly string[]): Promise<void> {
  const node = await currentNode(change, id);
  if (await offer(change, node, networks)) await revise(change, node);
  change.touch(id);
}

/** @returns whether the approved shares have changed */
async function offer(change: Change, node: NodeRecord, texts: readonly string[]): Promise<boolean> {
  const wanted = [...new Set(canonicalNetworks(texts, 'a node may share'))];
  const { tables } = change;
  const before = await tables.shares([node.id]);
  if (wanted.length === 0 && before.length === 0) return false;
  const approved = new Set(before.filter(({ state }) => state === 'approved').map(({ network }) => network));
  const judge = await judgeOf(change, node);
  const after = wanted.map((network) =>
    approved.has(network)
      ? { node: node.id, network, state: 'approved' as const, why: null }
      : judge(network),
  );
  await tables.replaceShares(node.id, after);
  const now = after.filter(({ state }) => state === 'approved');
  return now.length !== approved.size || now.some(({ network }) => !approved.has(network));
}

/** Decides about shares of a node, by the shares of the others and what its invitation allows. */
async function judgeOf(
  { tables, network }: Change,
  node: NodeRecord,
): Promise<(share: string) => ShareRecord> {
  const others = await tables.claims(node.id);
  const invite = node.invite === null ? undefined : await tables.invite({ id: node.invite });
  const allowed = invite === undefined || invite.revoked_at !== null ? [] : sharesOf(invite);
  return (share) => {
    const why = whyNotShareable(share, [network.ipv4, network.ipv6], others) ?? null;
    const state = why !== null ? 'refused' : isAllowed(share, allowed) ? 'approved' : 'pending';
    return { node: node.id, network: share, state, why };
  };
}

/** Approves a node, if it is pending, and its shares: all, or only these. @returns its name. @throws Refused */
export async function approve(change: Change, id: NodeId, networks?: readonly string[]): Promise<string> {
  const { tables } = change;
  const node = await currentNode(change, id);
  const offered = await tables.shares([id]);
  const chosen = networks?.map((text) => canonicalNetwork(text) ?? text);
  const unknown = chosen?.find((network) => !offered.some((share) => share.network === network));
  if (unknown !== undefined) throw new Refused('not-found', `${node.name} does not share ${unknown}`);
  const judge = await judgeOf(change, node);
  const decided = offered.map((share): ShareRecord => {
    const { network, state } = share;
    if (state === 'approved' || chosen?.includes(network) === false) return share;
    const { why } = judge(network);
    if (why === null) return { ...share, state: 'approved', why };
    if (chosen === undefined) return share;
    throw new Refused('overlap', `${network} cannot be shared: ${why}`);
  });
  const isOther = decided.some((share, i) => share !== offered[i]);
  if (isOther) await tables.replaceShares(id, decided);
  if (node.state === 'pending') {
    const addresses = await freeAddresses(change, id);
    await tables.updateNode(id, { state: 'active', ...addresses, revision: change.revise() });
  } else if (isOther) await revise(change, node);
  change.touch(id);
  return node.name;
}

/** Renames a node. @returns its former name. @throws Refused */
export async function rename(change: Change, id: NodeId, name: string): Promise<string> {
  const why = whyNoName(name);
  if (why !== undefined) throw new Refused('bad-request', `the name ${name} cannot be used: ${why}`);
  const node = await currentNode(change, id);
  change.touch(id);
  if (node.name === name) return name;
  const [other] = await change.tables.nodes({ name });
  if (other !== undefined) throw new Refused('taken', `the name ${name} is taken: choose another`);
  await change.tables.updateNode(id, { name });
  await revise(change, node);
  return node.name;
}

/** Removes a node. Removing it again changes nothing. */
export async function remove(change: Change, id: NodeId): Promise<void> {
  const { tables, now } = change;
  const [node] = await tables.nodes({ ids: [id] });
  change.touch(id);
  if (node === undefined || node.state === 'removed') return;
  await tables.replaceShares(id, []);
  const revision = node.state === 'active' ? change.revise() : 0;
  await tables.updateNode(id, { state: 'removed', removed_at: now, revision });
}

/** The current node of that name, or id in decimal. @throws Refused when there is none */
export async function findNode(tables: ReadTables, ref: string): Promise<NodeRecord> {
  const isId = /^\d{1,10}$/.test(ref);
  const [found] = await tables.nodes(isId ? { ids: [Number(ref)] } : { name: ref });
  if (found === undefined || found.state === 'removed')
    throw new Refused('not-found', `no node ${ref}: \`lametun nodes\` lists them`);
  return found;
}

async function currentNode({ tables }: Change, id: NodeId): Promise<NodeRecord> {
  const [node] = await tables.nodes({ ids: [id] });
  if (node === undefined || node.state === 'removed')
    throw new Refused('not-a-member', 'this node is no longer a member of the network');
  return node;
}

async function revise(change: Change, node: NodeRecord): Promise<void> {
  if (node.state !== 'active') return; // the map does not show it
  await change.tables.updateNode(node.id, { revision: change.revise() });
}

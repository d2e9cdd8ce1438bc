import type { AdminAnswer, AdminAnswers, AdminRequest, NodeRow } from '../../protocol/messages.js';
import type { NodeId } from '../../protocol/node-id.js';
import { addInvite, listInvites, revokeInvite } from '../membership/invites.js';
import { loadMembers, type Member, mapNode } from '../membership/members.js';
import { approve, findNode, remove, removeWaiting, rename } from '../membership/nodes.js';
import { Refused } from '../membership/refused.js';
import type { Registry } from '../membership/registry.js';

export interface AdministrationOptions {
  readonly registry: Registry;
  /** Milliseconds since 1970. */
  readonly clock: () => number;
  /** Random bytes. */
  readonly random: (bytes: number) => Uint8Array;
  /** SHA-256, hexadecimal. */
  readonly hash: (bytes: Uint8Array) => string;
  /** The token for `lametun join`. */
  readonly makeToken: (
    secret: Uint8Array,
  ) => Promise<Pick<AdminAnswers['invite'], 'token' | 'addresses' | 'warnings'>>;
  /** Whether the node is connected. */
  readonly isOnline: (node: NodeId) => boolean;
  /** How long ago it disconnected, milliseconds; undefined if it is connected, or was not connected since the start. */
  readonly awayFor: (node: NodeId) => number | undefined;
  /** The addresses of two machines that use its key; undefined if only one does. */
  readonly twins: (node: NodeId) => readonly string[] | undefined;
  /** Whether the key is that of the node on the hub's own machine. */
  readonly isHost: (key: string) => boolean;
}

/** Handles administrators' requests. The caller checks that the client is an administrator. */
export class Administration {
  readonly #options: AdministrationOptions;

  constructor(options: AdministrationOptions) {
    this.#options = options;
  }

  /** @throws Refused, StoreUnavailable */
  async handle(request: AdminRequest): Promise<AdminAnswer> {
    const { registry, clock } = this.#options;
    switch (request.op) {
      case 'invite':
        return this.#invite(request);
      case 'invites':
        return { invites: await registry.store.read((tables) => listInvites(tables, clock())) };
      case 'revoke':
        return registry.change(async (change) => {
          await revokeInvite(change, request.invite);
          return { removed: await removeWaiting(change, request.invite) };
        });
      case 'nodes': {
        const members = await registry.store.read((tables) => loadMembers(tables, 'current'));
        return { nodes: members.map((member) => this.#nodeRow(member)) };
      }
      case 'remove': {
        const { id, name, key } = await registry.store.read((tables) => findNode(tables, request.node));
        if (this.#options.isHost(key) && request.force !== true)
          throw new Refused(
            'needs-force',
            `${name} is the node on the hub's own machine: to remove it, add --force; the hub keeps running without it`,
          );
        await registry.change((change) => remove(change, id));
        return { name };
      }
      case 'rename': {
        const { id, name: before } = await registry.store.read((tables) => findNode(tables, request.node));
        await registry.change((change) => rename(change, id, request.name));
        return { name: request.name, before };
      }
      case 'approve': {
        const { id, name } = await registry.store.read((tables) => findNode(tables, request.node));
        await registry.change((change) => approve(change, id, request.shares));
        const [member] = await registry.store.read((tables) => loadMembers(tables, { ids: [id] }));
        return { name, shares: member?.offered ?? [] };
      }
    }
  }

  async #invite(request: Extract<AdminRequest, { op: 'invite' }>): Promise<AdminAnswers['invite']> {
    const { registry, random, hash, clock, makeToken } = this.#options;
    const secret = random(16);
    const invite = Array.from(random(4), (byte) => byte.toString(16).padStart(2, '0')).join('');
    const expiresAt = clock() + request.expires * 1000;
    const { reusable, uses, admin, shares } = request;
    const maxUses = await registry.change((change) =>
      addInvite(change, { id: invite, secretHash: hash(secret), expiresAt, reusable, uses, admin, shares }),
    );
    return { invite, expiresAt, maxUses, ...(await makeToken(secret)) };
  }

  #nodeRow({ row, offered }: Member): NodeRow {
    const twins = this.#options.twins(row.id);
    const awayFor = this.#options.awayFor(row.id);
    return {
      ...mapNode(row, offered),
      admin: row.admin === 1,
      pending: row.state === 'pending',
      online: this.#options.isOnline(row.id),
      joinedAt: row.joined_at,
      ...(awayFor !== undefined && { awayFor: Math.round(awayFor) }),
      ...(twins && { twins }),
      offered,
    };
  }
}

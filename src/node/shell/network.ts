import { LametunError } from '../../errors.js';
import type { AdminAnswer, AdminRequest, Membership, OfferedShare } from '../../protocol/messages.js';
import { MAGIC } from '../../protocol/relay.js';
import type { HubAddress } from '../../protocol/token.js';
import type { PeerEndpoint } from '../../tunnel/engine.js';
import type { LeaveAnswer, NodeStatus, PingAnswer, TrustAnswer } from '../control/control.js';
import { findMember } from '../machine/find-member.js';
import type { HubClient, HubEvent } from '../machine/hub/hub-client.js';
import { HubFailure } from '../machine/hub/hub-failure.js';
import { byToken, type HubAddresses, reached, searched, told } from '../machine/hub-addresses.js';
import { nodeStatus } from '../machine/node-status.js';
import { localRoutes, localRouting, parseShare } from '../machine/ranges.js';
import { NodeParts, type NodePartsOptions } from './node-parts.js';
import type { NodeEnd, RunningNode } from './running-node.js';
import type { StateDirectory, StoredNode } from './state.js';

/** A node that is up: what the hub says becomes peers, routes and names; what peers say becomes paths. */
export class Network implements RunningNode {
  readonly ended: Promise<NodeEnd>;
  /** The hub has said who is in the network, and they are found by name; or that nobody is told yet. */
  readonly introduced: Promise<void>;
  readonly #state: StateDirectory;
  readonly #client: HubClient;
  readonly #parts: NodeParts;
  readonly #log: NodePartsOptions['log'];
  #said: string | undefined;
  readonly #wished: string | undefined;
  #isLeaving = false;
  #ending: Promise<void> | undefined;
  /** Where its state is kept that is out of use now. */
  #aside: string | undefined;
  #end!: (end: NodeEnd) => void;
  #introduce!: () => void;
  #isIntroduced = false;

  private constructor(options: NodePartsOptions) {
    this.#state = options.state;
    this.#client = options.client;
    this.#log = options.log;
    this.#wished = options.wished;
    this.#parts = new NodeParts(options);
    this.ended = new Promise((resolve) => {
      this.#end = resolve;
    });
    this.introduced = new Promise((resolve) => {
      this.#introduce = resolve;
    });
  }

  /** @throws when it does not get there; then device and client are closed, and the key is destroyed */
  static async start(options: NodePartsOptions): Promise<Network> {
    const network = new Network(options);
    try {
      await network.#parts.start();
      void options.device.ended.then((reason) => network.#deviceEnded(reason));
      return network;
    } catch (error) {
      await network.#parts.stop();
      throw error;
    }
  }

  get isEnding(): boolean {
    return this.#ending !== undefined;
  }

  // What is asked of a node.

  status(): NodeStatus {
    const { record, key, hub, relay, checks, table, roster, known, warnings } = this.#parts;
    return nodeStatus({
      ...{ node: record.node, key, hub: hub.status, relay: relay.status, names: roster.names },
      ...{ members: checks.all(), path: (id) => this.#parts.path(id), table, known, wished: this.#wished },
      warnings: [...warnings, ...hub.warnings(), ...roster.warnings()],
    });
  }

  async ping(node: string, sequence = 1): Promise<PingAnswer> {
    const { network, you } = this.#node;
    const { id, name, ipv4 } = findMember(node, this.#parts.checks.all(), network.name, you);
    const rttMs = await this.#parts.driver.ping(id);
    const path = this.#parts.path(id);
    return { node: name, address: ipv4, sequence, rttMs, path };
  }

  async share(shares?: readonly string[]): Promise<readonly OfferedShare[]> {
    if (shares === undefined) return this.#node.you.shares;
    const routes = localRoutes(localRouting(this.#node.device));
    for (const share of shares) parseShare(share, routes, this.#parts.ranges);
    const answer = await this.#client.request('share', { shares });
    this.#parts.record.setShares(shares, answer.shares);
    return answer.shares;
  }

  trust(node: string): TrustAnswer {
    const { network, you } = this.#node;
    const { name, key } = findMember(node, this.#parts.checks.all(), network.name, you);
    const changed = this.#parts.known.trust(name);
    this.#parts.keeper.saveNames();
    return { node: name, key, changed };
  }

  async leave(force = false): Promise<LeaveAnswer> {
    let told = true;
    this.#isLeaving = true;
    try {
      await this.#client.request('leave', {});
    } catch (error) {
      // The hub says that this is no member.
      told = error instanceof HubFailure && (error.kind === 'removed' || error.refusal === 'not-a-member');
      if (!told) this.#isLeaving = false;
      if (!told && !force)
        throw new LametunError(
          'unreachable',
          `the hub cannot be told (${(error as Error).message}): try again when it is there, or leave with --force`,
          { cause: error },
        );
    }
    const end = { reason: 'left', message: `left the network ${this.#node.network.name}` } as const;
    await this.#finish(end, told ? 'forget' : 'set-aside');
    return { told, kept: this.#aside };
  }

  readdress(hubKey: string, addresses: readonly HubAddress[]): void {
    const { hub, network, you } = this.#node;
    if (hub.key !== hubKey)
      throw new LametunError(
        'usage',
        `this machine is ${you.name} of the network ${network.name}, and the token is of another hub: \`lametun leave\` ends that, and --state DIR keeps several`,
      );
    this.#setHub(byToken(hub, addresses), true);
  }

  admin(request: AdminRequest): Promise<AdminAnswer> {
    return this.#client.admin(request);
  }

  close(): Promise<void> {
    return this.#finish({ reason: 'closed', message: 'told to stop' });
  }

  // What happens.

  handleHub(event: HubEvent): void {
    if (this.#ending !== undefined) return;
    switch (event.kind) {
      case 'connected':
        this.#connected(event);
        if (event.you.pending) this.#introduce();
        break;
      case 'map':
        this.#parts.roster.apply(event.change);
        this.#parts.keeper.mapChanged();
        if (!this.#isIntroduced) this.#parts.roster.nameNow();
        this.#introduce();
        this.#isIntroduced = true;
        break;
      case 'you':
        this.#setYou(event.you);
        break;
      case 'frame':
        this.#parts.relay.handleFrame(event.peer, event.datagram);
        break;
      case 'removed':
        if (this.#isLeaving) break; // as we wanted
        void this.#finish(
          {
            reason: 'removed',
            message: `this node was removed from the network ${this.#node.network.name}`,
          },
          'set-aside',
        );
        break;
      case 'addresses':
        this.#setHub(told(this.#node.hub, event.addresses));
        break;
      case 'presence':
        this.#parts.presence.apply(event.presence, performance.now());
        break;
      case 'twin':
        this.#parts.hub.twin(event.address);
        break;
      case 'disconnected':
        this.#parts.hub.disconnected(event);
        this.#sayOnce(event.failure);
        this.#parts.presence.clear();
        this.#parts.relay.detached(`the hub is away: ${event.failure.message}`);
        break;
    }
  }

  /** What came beside WireGuard on the device's socket. */
  handleBeside(bytes: Uint8Array, from: PeerEndpoint): void {
    if (this.#ending !== undefined) return;
    const magic = new DataView(bytes.buffer, bytes.byteOffset, bytes.length).getInt32(0, true);
    if (magic === MAGIC.control) {
      this.#parts.relay.handleControl(bytes, from.remote);
      return;
    }
    this.#parts.driver.handleProbe(bytes, from);
  }

  #connected(event: Extract<HubEvent, { kind: 'connected' }>): void {
    const { remote, you, relay, by, addresses } = event;
    this.#parts.hub.connected(event);
    this.#setHub(told(reached(this.#node.hub, by), addresses));
    this.#parts.whereabouts.setHub(remote.address);
    this.#setYou(you);
    if (!this.#node.you.pending) this.#parts.relay.attached(remote, relay);
    this.#parts.roster.route();
    void this.#parts.retell();
  }

  #setHub(known: HubAddresses, now = false): void {
    this.#parts.record.setHub(known);
    this.#client.setAddresses(searched(known), { now });
  }

  #setYou(you: Membership): void {
    const { checks, record } = this.#parts;
    const before = this.#node.you;
    checks.callSelf(you.name);
    const { ipv4: _, ipv6: __, ...rest } = you;
    const addresses = checks.placeSelf(you);
    const pending = you.pending || addresses === undefined;
    record.setYou({ ...rest, ...addresses, name: checks.ownName, pending });
    if (before.ipv4 === undefined && addresses !== undefined) void this.#parts.settle();
    if (before.pending && !pending) void this.#parts.renewRelay(); // until now its credentials opened nothing
  }

  /** What keeps this node from its network for good, unless somebody does something. */
  #sayOnce({ kind, refusal, message }: HubFailure): void {
    const isGrave = kind === 'other-network' || refusal === 'twin' || refusal === 'not-a-member';
    if (isGrave && message !== this.#said) this.#log.error(message);
    this.#said = isGrave ? message : undefined;
  }

  // The end.

  #deviceEnded(reason: 'device-gone' | Error): void {
    if (reason === 'device-gone')
      void this.#finish({ reason, message: `the device ${this.#node.device} was removed` });
    else void this.#finish({ reason: 'failed', message: reason.message });
  }

  async #finish(end: NodeEnd, identity: 'keep' | 'set-aside' | 'forget' = 'keep'): Promise<void> {
    this.#ending ??= this.#finishOnce(end, identity);
    await this.#ending;
  }

  /** Whatever cannot be undone: the node has ended, and whoever waits for that hears of it. */
  async #finishOnce(end: NodeEnd, identity: 'keep' | 'set-aside' | 'forget'): Promise<void> {
    try {
      if (identity === 'keep') this.#parts.save();
      await this.#parts.stop();
      if (identity === 'forget') this.#state.forgetNode();
      if (identity === 'set-aside')
        this.#aside = this.#state.setNodeAside(end.reason === 'left' ? 'left' : 'removed');
      const kept = this.#aside === undefined ? '' : `; its key and its state are kept in ${this.#aside}`;
      this.#end({ ...end, message: end.message + kept });
    } catch (error) {
      this.#end({ reason: 'failed', message: `${end.message}, but: ${(error as Error).message}` });
    }
  }

  get #node(): StoredNode {
    return this.#parts.record.node;
  }
}

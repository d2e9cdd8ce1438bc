import type { Cidr } from '../../ip/cidr.js';
import type { Endpoint } from '../../ip/endpoint.js';
import type { NodeId } from '../../protocol/node-id.js';
import { MAGIC, RELAY_FRAME } from '../../protocol/relay.js';
import { decodeBase64 } from '../../protocol/text.js';
import type { Transfer } from '../../wireguard/activity.js';
import type { Crypto, PrivateKey } from '../../wireguard/crypto.js';
import { TRANSPORT } from '../../wireguard/messages.js';
import type { NodeCommand } from './commands.js';
import type { Member } from './members.js';
import { type LocalAddress, ownCandidates } from './paths/candidates.js';
import { Greetings } from './paths/greetings.js';
import type { PathEvent, ProbeSource } from './paths/path-events.js';
import { Paths } from './paths/paths.js';
import { ProbeBox } from './paths/probe-box.js';
import { RelayLink, type RelayLinkEvent } from './paths/relay-link.js';
import { Traffic } from './traffic.js';

/** How many due peers to handle before other work gets its turn. */
const PEERS_PER_TURN = 64;

export interface SideChannelOptions {
  readonly crypto: Crypto;
  readonly privateKey: PrivateKey;
  /** Of this node. */
  readonly id: NodeId;
  /** Of the network. */
  readonly ranges: readonly Cidr[];
  /** Bytes. */
  readonly mtu: number;
  /** This node's UDP port. */
  readonly port: number;
  readonly push: (command: NodeCommand) => void;
  /** A direct path was found. */
  readonly onDirect: () => void;
  /** UDP to the relay stopped passing. */
  readonly onRelayLost: () => void;
}

/**
 * The side-channel messages on a node's UDP socket: probes, which find paths to peers, and the relay binding. Sans-I/O:
 * after every call, `settle` turns the events of its parts into commands.
 */
export class SideChannel {
  readonly paths: Paths;
  readonly relay: RelayLink;
  readonly #options: SideChannelOptions;
  readonly #box: ProbeBox;
  readonly #greetings = new Greetings();
  readonly #traffic = new Traffic();
  #addresses: readonly LocalAddress[] = [];
  /** This node's endpoint as the relay sees it. */
  #seen: Endpoint | undefined;
  /** Whether the relay has reported it, or does not answer. */
  #isSeenKnown = false;
  #hasRelay = false;

  constructor(options: SideChannelOptions, now: number) {
    const { crypto, privateKey, id, ranges, mtu } = options;
    this.#options = options;
    const dataLength = mtu + TRANSPORT.minLength;
    this.#box = new ProbeBox(crypto, privateKey, id);
    this.paths = new Paths({ crypto, inside: ranges, dataLength });
    this.relay = new RelayLink(crypto, dataLength + RELAY_FRAME.payload, now);
  }

  nextTimeout(): number {
    return Math.min(this.paths.nextTimeout(), this.relay.nextTimeout(), this.#greetings.nextTimeout());
  }

  handleTimeout(now: number): void {
    this.paths.handleTimeout(now, PEERS_PER_TURN);
    this.relay.handleTimeout(now);
    for (const peer of this.#greetings.due(now)) this.#options.push({ kind: 'greet', peer });
  }

  add({ id, key }: Member, stored: Endpoint | undefined, now: number): void {
    this.#box.addPeer(id, this.#options.crypto.publicKey(decodeBase64(key)));
    this.paths.addPeer(id, stored, now);
  }

  remove(id: NodeId): void {
    this.#greetings.delete(id);
    this.#traffic.delete(id);
    this.paths.removePeer(id);
    this.#box.removePeer(id);
  }

  /** Plans greetings: by peer, how many milliseconds after its first path. Call this before adding peers. */
  greet(plan: ReadonlyMap<NodeId, number>): void {
    this.#greetings.plan(plan);
  }

  /** A side-channel message arrived, from anyone. */
  handleDatagram(bytes: Uint8Array, from: ProbeSource, now: number): void {
    const magic = new DataView(bytes.buffer, bytes.byteOffset, bytes.length).getInt32(0, true);
    if (magic === MAGIC.control) {
      this.relay.handleControl(bytes, from.remote, now);
      return;
    }
    const opened = this.#box.open(bytes, now);
    if (opened === undefined || (from.relayPeer !== 0 && from.relayPeer !== opened.peer)) return;
    this.paths.handleProbe(opened.peer, opened.probe, from, now);
  }

  /** @param counted by member's id @returns whether any relayed peer is silent */
  handleTraffic(counted: Iterable<readonly [id: NodeId, transfer: Transfer]>, now: number): boolean {
    let isRelayed = false;
    let isAnySilent = false;
    for (const { id, isSilent } of this.#traffic.active(counted, now)) {
      this.paths.handleActivity(id, now);
      if (isSilent) this.paths.handleSilence(id, now);
      if (!this.paths.isRelayed(id)) continue;
      isRelayed = true;
      isAnySilent ||= isSilent;
    }
    if (isRelayed) this.relay.handleActivity(isAnySilent, now);
    return isAnySilent;
  }

  /** @param addresses this machine's @param hasMoved whether it may be in another network */
  setAddresses(addresses: readonly LocalAddress[], hasMoved: boolean, now: number): void {
    this.#addresses = addresses;
    if (hasMoved) this.#isSeenKnown = false;
    this.#tellOwn(now);
    if (hasMoved) this.relay.rebind(now);
  }

  /** Turns events of the parts into commands. @returns whether there were any */
  settle(now: number): boolean {
    let isBusy = false;
    for (let event = this.#poll(); event; event = this.#poll()) {
      isBusy = true;
      this.#perform(event, now);
    }
    return isBusy;
  }

  #poll(): RelayLinkEvent | PathEvent | undefined {
    return this.relay.poll() ?? this.paths.poll();
  }

  #perform(event: RelayLinkEvent | PathEvent, now: number): void {
    const { push, onDirect, onRelayLost } = this.#options;
    switch (event.kind) {
      case 'datagram':
        push(event);
        return;
      case 'relay':
        push(event);
        this.#hasRelay = event.route !== undefined;
        this.paths.setRelay(this.#hasRelay, this.relay.status.why, now);
        return;
      case 'seen':
        this.#seen = event.seen;
        this.#isSeenKnown = event.isKnown;
        this.#tellOwn(now);
        return;
      case 'lost':
        onRelayLost();
        return;
      case 'probe':
        this.#send(event);
        return;
      case 'answer':
        push({ kind: 'answer', token: event.token, value: event.rtt });
        return;
      case 'use':
        this.#use(event.peer, event.endpoint, now);
        if (event.endpoint !== undefined) onDirect();
    }
  }

  #tellOwn(now: number): void {
    const { port, ranges } = this.#options;
    this.paths.setOwn(ownCandidates(this.#addresses, port, this.#seen, ranges), this.#isSeenKnown, now);
  }

  #send({ peer, probe, to, back, hops }: Extract<PathEvent, { kind: 'probe' }>): void {
    const { push } = this.#options;
    const bytes = this.#box.seal(peer, probe);
    if (bytes === undefined) return;
    if (back !== undefined) push({ kind: 'reply', bytes, to: back });
    else if (to !== undefined) push({ kind: 'datagram', bytes, to, ...(hops && { hops }) });
    else if (this.#hasRelay) push({ kind: 'relayed', bytes, peer });
  }

  #use(peer: NodeId, endpoint: Endpoint | undefined, now: number): void {
    if (endpoint === undefined && !this.#hasRelay) return;
    this.#options.push({ kind: 'endpoint', peer, endpoint });
    this.#greetings.reached(peer, now);
  }
}

import type { Cidr } from '../../ip/cidr.js';
import type { Endpoint } from '../../ip/endpoint.js';
import type { NodeId } from '../../protocol/node-id.js';
import { MAGIC, RELAY_FRAME } from '../../protocol/relay.js';
import { decodeBase64 } from '../../protocol/text.js';
import type { Crypto, PrivateKey } from '../../wireguard/crypto.js';
import { TRANSPORT } from '../../wireguard/messages.js';
import type { NodeCommand } from './commands.js';
import type { Member } from './members.js';
import { type LocalAddress, ownCandidates } from './paths/candidates.js';
import { Greetings } from './paths/greetings.js';
import type { ProbeSource } from './paths/path-events.js';
import { Paths } from './paths/paths.js';
import { ProbeBox } from './paths/probe-box.js';
import { RelayLink, type RelayLinkEvent } from './paths/relay-link.js';
import type { PeerActivity } from './traffic.js';

/** Peers whose time has come, before others get their turn. */
const PEERS_PER_TURN = 64;

export interface SideChannelOptions {
  readonly crypto: Crypto;
  readonly privateKey: PrivateKey;
  /** This node's. */
  readonly id: NodeId;
  /** The network's ranges, and its MTU in bytes. */
  readonly ranges: readonly Cidr[];
  readonly mtu: number;
  /** This node's UDP port. */
  readonly port: number;
  readonly push: (command: NodeCommand) => void;
}

/** What of the side channel the rest of a node must know. */
export type SideChannelEvent =
  /** A direct path was found. */
  | { readonly kind: 'direct' }
  /** UDP to the relay does not pass any more. */
  | { readonly kind: 'relay-lost' }
  /** What somebody asked for by `paths.ping`; without `rtt`, in milliseconds, there was no answer in time. */
  | { readonly kind: 'pong'; readonly token: number; readonly rtt: number | undefined };

/**
 * What travels beside WireGuard on a node's UDP socket: probes to peers, which find paths, and the binding to the relay.
 * Sans-I/O, like all that it consists of: after every call `settle` turns what they want into commands.
 */
export class SideChannel {
  readonly paths: Paths;
  readonly #options: SideChannelOptions;
  readonly #box: ProbeBox;
  readonly #relay: RelayLink;
  readonly #greetings = new Greetings();
  #addresses: readonly LocalAddress[] = [];
  /** Where the relay sees this node. */
  #seen: Endpoint | undefined;
  /** Whether the relay has said so, or was asked in vain. */
  #isSeenKnown = false;
  #hasRelay = false;

  constructor(options: SideChannelOptions, now: number) {
    const { crypto, privateKey, id, ranges, mtu } = options;
    this.#options = options;
    const dataLength = mtu + TRANSPORT.minLength;
    this.#box = new ProbeBox(crypto, privateKey, id);
    this.paths = new Paths({ crypto, inside: ranges, dataLength });
    this.#relay = new RelayLink(crypto, dataLength + RELAY_FRAME.payload, now);
  }

  get relay(): Pick<RelayLink, 'status' | 'attached' | 'detached'> {
    return this.#relay;
  }

  nextTimeout(): number {
    return Math.min(this.paths.nextTimeout(), this.#relay.nextTimeout(), this.#greetings.nextTimeout());
  }

  handleTimeout(now: number): void {
    this.paths.handleTimeout(now, PEERS_PER_TURN);
    this.#relay.handleTimeout(now);
    for (const peer of this.#greetings.due(now)) this.#options.push({ kind: 'greet', peer });
  }

  add({ id, key }: Member, stored: Endpoint | undefined, now: number): void {
    this.#box.addPeer(id, this.#options.crypto.publicKey(decodeBase64(key)));
    this.paths.addPeer(id, stored, now);
  }

  remove(id: NodeId): void {
    this.#greetings.delete(id);
    this.paths.removePeer(id);
    this.#box.removePeer(id);
  }

  /** Peers to greet as soon as there is a path, and after how many milliseconds. To be told before peers are added. */
  greet(plan: ReadonlyMap<NodeId, number>): void {
    this.#greetings.plan(plan);
  }

  /** Something came on the side channel, from anyone. */
  handleDatagram(bytes: Uint8Array, from: ProbeSource, now: number): void {
    const magic = new DataView(bytes.buffer, bytes.byteOffset, bytes.length).getInt32(0, true);
    if (magic === MAGIC.control) {
      this.#relay.handleControl(bytes, from.remote, now);
      return;
    }
    const opened = this.#box.open(bytes, now);
    if (opened === undefined || (from.relayPeer !== 0 && from.relayPeer !== opened.peer)) return;
    this.paths.handleProbe(opened.peer, opened.probe, from, now);
  }

  /** @returns whether packets go through the relay and nothing comes back */
  handleActivity(peers: Iterable<PeerActivity>, now: number): boolean {
    let isRelayed = false;
    let isAnySilent = false;
    for (const { id, isSilent } of peers) {
      this.paths.handleActivity(id, now);
      if (isSilent) this.paths.handleSilence(id, now);
      if (!this.paths.isRelayed(id)) continue;
      isRelayed = true;
      isAnySilent ||= isSilent;
    }
    if (isRelayed) this.#relay.handleActivity(isAnySilent, now);
    return isAnySilent;
  }

  /** The addresses of this machine. @param hasMoved whether it may be in another network */
  setAddresses(addresses: readonly LocalAddress[], hasMoved: boolean, now: number): void {
    this.#addresses = addresses;
    if (hasMoved) this.#isSeenKnown = false;
    this.#tellOwn(now);
    if (hasMoved) this.#relay.rebind(now);
  }

  /** Turns what the parts want into commands. @returns what the rest of the node must know */
  settle(now: number): SideChannelEvent[] {
    const events: SideChannelEvent[] = [];
    for (let isBusy = true; isBusy; ) {
      isBusy = false;
      for (let event = this.#relay.poll(); event; event = this.#relay.poll()) {
        isBusy = true;
        if (event.kind === 'lost') events.push({ kind: 'relay-lost' });
        else this.#performRelay(event, now);
      }
      for (let event = this.paths.poll(); event; event = this.paths.poll()) {
        isBusy = true;
        if (event.kind === 'probe') this.#send(event);
        else if (event.kind === 'answer') events.push({ ...event, kind: 'pong' });
        else {
          this.#use(event.peer, event.endpoint, now);
          if (event.endpoint !== undefined) events.push({ kind: 'direct' });
        }
      }
    }
    return events;
  }

  /** Erases the keys. */
  close(): void {
    this.#box.close();
  }

  #performRelay(event: Exclude<RelayLinkEvent, { kind: 'lost' }>, now: number): void {
    const { push } = this.#options;
    if (event.kind === 'datagram') push(event);
    else if (event.kind === 'seen') {
      this.#seen = event.seen;
      this.#isSeenKnown = event.isKnown;
      this.#tellOwn(now);
    } else {
      push(event);
      this.#hasRelay = event.route !== undefined;
      this.paths.setRelay(this.#hasRelay, this.#relay.status.why, now);
      if (this.#hasRelay) this.paths.retellRelayed();
    }
  }

  #tellOwn(now: number): void {
    const { port, ranges } = this.#options;
    this.paths.setOwn(ownCandidates(this.#addresses, port, this.#seen, ranges), this.#isSeenKnown, now);
  }

  #send({ peer, probe, to, back, hops }: Extract<ReturnType<Paths['poll']>, { kind: 'probe' }>): void {
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

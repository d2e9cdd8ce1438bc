import { PrefixLookup, PrefixTable } from '../ip/prefix-table.js';
import { askForHandshake, noteConfirmed, noteReceived, noteSent } from './activity.js';
import { COUNTER_LIMIT } from './constants.js';
import { type Crypto, EMPTY, LENGTH } from './crypto.js';
import type { Drop, DropCounters } from './drops.js';
import type { MachineEvent, PeerEndpoint } from './events.js';
import { innerAddresses, innerLength } from './inner.js';
import { type Keypair, maySend, wantsRekeySending } from './keypair.js';
import {
  erase,
  MESSAGE_TYPE,
  messageType,
  paddingOf,
  readCounter,
  TRANSPORT,
  viewOf,
  writeCounter,
} from './messages.js';
import type { PeerNumber, ReceiverIndex } from './numbers.js';
import type { Peer } from './peer.js';
import { REPLAY, replayAccept, replayReset } from './replay.js';

export interface DataPathOptions {
  readonly crypto: Crypto;
  readonly drops: DropCounters;
  /** The peers' rows, each `ACTIVITY.words` long and as the peers were given them. */
  readonly rowOf: (peer: Peer) => { readonly row: Float64Array; readonly at: number };
  readonly mtu: number;
  /** How many packets may wait for the handshake of a peer, and of all peers together. */
  readonly maxQueued: { readonly perPeer: number; readonly total: number };
}

/** What leaves a data path. */
export type Output =
  | { readonly kind: 'datagram'; readonly to: PeerEndpoint; readonly bytes: Uint8Array }
  | { readonly kind: 'packet'; readonly bytes: Uint8Array }
  /** `WireGuardMachine.handleActivity` is wanted. */
  | { readonly kind: 'wake-up'; readonly peer: Peer }
  /** `WireGuardMachine.handleRoaming` is wanted. */
  | { readonly kind: 'roaming'; readonly peer: Peer; readonly endpoint: PeerEndpoint };

interface Session {
  readonly peer: Peer;
  readonly keypair: Keypair;
  readonly sendingKey: Uint8Array;
  readonly receivingKey: Uint8Array;
  counter: number;
  readonly window: Uint32Array;
  /** Whether anything was received under it. Until then its initiator may not have it. */
  confirmed: boolean;
}

interface Route {
  readonly peer: Peer;
  endpoint: PeerEndpoint | undefined;
  current: Session | undefined;
  readonly waiting: Uint8Array[];
}

/**
 * The data path in its simplest form: no threads, no tables, allocations wherever they are handy. It is the reference
 * for the tunnel's worker, and the other half of a device in tests.
 *
 * Contract: `apply` every event of `WireGuardMachine.poll` but datagrams, `handlePacket` for what comes from the
 * applications, `handleDatagram` for what comes from the network; then take all of `poll()`.
 */
export class DataPath {
  readonly allowedIps = new PrefixTable();
  readonly #options: DataPathOptions;
  readonly #routes = new Map<PeerNumber, Route>();
  readonly #sessions = new Map<ReceiverIndex, Session>();
  readonly #outputs: Output[] = [];
  #lookup: PrefixLookup | undefined;
  #queued = 0;

  constructor(options: DataPathOptions) {
    this.#options = options;
  }

  poll(): Output | undefined {
    return this.#outputs.shift();
  }

  /** Call this after `allowedIps` was changed. */
  allowedIpsChanged(): void {
    this.#lookup = undefined;
  }

  addPeer(peer: Peer): void {
    this.#routes.set(peer.id, { peer, endpoint: peer.endpoint, current: undefined, waiting: [] });
  }

  removePeer(peer: Peer): void {
    this.#discardQueue(peer);
    this.#routes.delete(peer.id);
    this.allowedIps.removeOwner(peer.id);
    this.allowedIpsChanged();
  }

  apply(event: Exclude<MachineEvent<Peer>, { kind: 'datagram' }>, now: number): void {
    const route = this.#routes.get(event.peer.id);
    switch (event.kind) {
      case 'install-keypair': {
        const { peer, keypair, sendingKey, receivingKey } = event;
        const window = new Uint32Array(REPLAY.words);
        replayReset(window, 0);
        const confirmed = keypair.initiator;
        const session = { peer, keypair, sendingKey, receivingKey, counter: 0, window, confirmed };
        this.#sessions.set(keypair.localIndex, session);
        return;
      }
      case 'use-keypair':
        if (!route) return;
        route.current = event.keypair && this.#sessions.get(event.keypair.localIndex);
        this.#flush(route, event.confirm, now);
        return;
      case 'drop-keypair': {
        const session = this.#sessions.get(event.localIndex);
        erase(session?.sendingKey, session?.receivingKey);
        this.#sessions.delete(event.localIndex);
        if (route?.current === session && route) route.current = undefined;
        return;
      }
      case 'keepalive':
        if (route) this.#flush(route, true, now);
        return;
      case 'discard-queue':
        this.#discardQueue(event.peer);
        return;
      case 'endpoint':
        if (route) route.endpoint = event.endpoint;
        return;
      case 'forget-source':
        return; // no source addresses here
    }
  }

  /** Out: a packet from an application. */
  handlePacket(packet: Uint8Array, now: number): void {
    this.#count(this.#out(packet, now));
  }

  /** In: a transport message from the network. */
  handleDatagram(datagram: Uint8Array, from: PeerEndpoint, now: number): void {
    this.#count(this.#in(datagram, from, now));
  }

  #count(reason: Drop | undefined): void {
    if (reason !== undefined) this.#options.drops.count(reason);
  }

  #out(packet: Uint8Array, now: number): Drop | undefined {
    const { maxQueued } = this.#options;
    if (innerLength(packet) !== packet.length) return 'bad-inner-packet';
    const route = this.#routes.get(this.#find(packet, innerAddresses(packet).destination) as PeerNumber);
    if (!route) return 'no-peer';
    if (!route.endpoint) return 'no-endpoint';
    if (this.#send(route, packet, now)) return undefined;
    this.#ask(route.peer, now);
    if (route.waiting.length >= maxQueued.perPeer || this.#queued >= maxQueued.total) return 'queue-full';
    route.waiting.push(Uint8Array.from(packet));
    this.#queued++;
    return undefined;
  }

  #in(datagram: Uint8Array, from: PeerEndpoint, now: number): Drop | undefined {
    const { crypto } = this.#options;
    const view = viewOf(datagram);
    if (messageType(view, 0, datagram.length) !== MESSAGE_TYPE.transport) return 'malformed';
    const session = this.#sessions.get(view.getUint32(TRANSPORT.receiver, true) as ReceiverIndex);
    if (!session) return 'unknown-index';
    const { keypair, peer } = session;
    const counter = readCounter(view, TRANSPORT.counter);
    if (counter >= COUNTER_LIMIT) return 'counter-limit';
    if (now >= keypair.rejectAt) return 'expired-key';
    const sealed = datagram.subarray(TRANSPORT.payload);
    const plaintext = new Uint8Array(sealed.length - LENGTH.tag);
    if (!crypto.open(session.receivingKey, counter, sealed, EMPTY, plaintext)) return 'bad-tag';
    if (!replayAccept(session.window, 0, counter)) return 'replayed';

    // The packet is authentic: it counts for roaming and the timers, whatever is inside.
    const route = this.#routes.get(peer.id);
    if (!route) return 'unknown-index';
    const { row, at } = this.#options.rowOf(peer);
    if (!route.endpoint?.equals(from)) {
      route.endpoint = from;
      this.#outputs.push({ kind: 'roaming', peer, endpoint: from });
    }
    if (!session.confirmed) {
      session.confirmed = true;
      noteConfirmed(row, at, keypair.localIndex);
      // The initiator has this keypair, and perhaps no older one: the answer to this packet must not wait for the control
      // plane. If both sides began at once, the control plane decides.
      if (!route.current || route.current.keypair.createdAt < keypair.createdAt) route.current = session;
      this.#outputs.push({ kind: 'wake-up', peer });
    }
    if (noteReceived(row, at, plaintext.length > 0, now)) this.#outputs.push({ kind: 'wake-up', peer });
    if (session === route.current && now >= keypair.rekeyReceivingAt) this.#ask(peer, now);

    if (plaintext.length === 0) return undefined; // a keepalive
    const length = innerLength(plaintext);
    if (length === 0) return 'bad-inner-packet';
    const packet = plaintext.subarray(0, length);
    if (this.#find(packet, innerAddresses(packet).source) !== peer.id) return 'not-allowed-source';
    this.#outputs.push({ kind: 'packet', bytes: packet });
    return undefined;
  }

  /** Seals and sends, if there is a key. An empty packet is a keepalive. */
  #send(route: Route, packet: Uint8Array, now: number): boolean {
    const { crypto, mtu } = this.#options;
    const { current, endpoint, peer } = route;
    if (!current || !endpoint || !maySend(current.keypair, current.counter, now)) return false;
    const counter = current.counter++;
    const plaintext = new Uint8Array(packet.length + paddingOf(packet.length, mtu));
    plaintext.set(packet);
    const message = new Uint8Array(TRANSPORT.overhead + plaintext.length);
    const view = viewOf(message);
    view.setUint32(0, MESSAGE_TYPE.transport, true);
    view.setUint32(TRANSPORT.receiver, current.keypair.remoteIndex, true);
    writeCounter(view, TRANSPORT.counter, counter);
    crypto.seal(current.sendingKey, counter, plaintext, EMPTY, message.subarray(TRANSPORT.payload));
    this.#outputs.push({ kind: 'datagram', to: endpoint, bytes: message });

    const { row, at } = this.#options.rowOf(peer);
    if (noteSent(row, at, packet.length > 0, now)) this.#outputs.push({ kind: 'wake-up', peer });
    if (wantsRekeySending(current.keypair, counter, now)) this.#ask(peer, now);
    return true;
  }

  /** Sends the waiting packets. If none waits, `orKeepalive` sends an empty one. */
  #flush(route: Route, orKeepalive: boolean, now: number): void {
    if (!route.current) return;
    if (route.waiting.length === 0 && orKeepalive && !this.#send(route, EMPTY, now))
      this.#ask(route.peer, now);
    while (route.waiting.length > 0 && this.#send(route, route.waiting[0]!, now)) {
      route.waiting.shift();
      this.#queued--;
    }
  }

  #discardQueue(peer: Peer): void {
    const route = this.#routes.get(peer.id);
    if (!route) return;
    this.#options.drops.count('no-session', route.waiting.length);
    this.#queued -= route.waiting.length;
    route.waiting.length = 0;
  }

  #ask(peer: Peer, now: number): void {
    const { row, at } = this.#options.rowOf(peer);
    if (askForHandshake(row, at, now)) this.#outputs.push({ kind: 'wake-up', peer });
  }

  /** The peer whose allowed IPs contain the address at an offset of a packet. */
  #find(packet: Uint8Array, at: number): number {
    this.#lookup ??= new PrefixLookup(this.allowedIps.compile());
    return packet[0]! >> 4 === 4 ? this.#lookup.find4(packet, at) : this.#lookup.find6(packet, at);
  }
}

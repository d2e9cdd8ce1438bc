import type { WireGuardInterface } from '../../../device/interface.js';
import type { Cidr } from '../../../ip/cidr.js';
import type { Endpoint } from '../../../ip/endpoint.js';
import type { PeerEndpoint } from '../../../tunnel/engine.js';
import type { Crypto, PrivateKey } from '../../../wireguard/crypto.js';
import { TRANSPORT } from '../../../wireguard/messages.js';
import type { PathStatus } from '../../control/control.js';
import type { PeerActivity, PeerTable } from '../../shell/peer-table.js';
import type { Member } from '../members.js';
import { Paths } from './paths.js';
import { ProbeBox } from './probe-box.js';

/** Timers stand still while the machine sleeps: never wait for longer. Milliseconds. */
const LONGEST_SLEEP = 5_000;
/** How often is looked whether the device is up, where something waits for that; milliseconds. */
const UNTIL_UP = 50;
/** Peers whose time has come, before others get their turn. */
const PEERS_PER_TURN = 64;

export interface PathDriverOptions {
  readonly crypto: Crypto;
  readonly privateKey: PrivateKey;
  /** This node's. */
  readonly id: number;
  /** The network's ranges, and its MTU in bytes. */
  readonly inside: readonly Cidr[];
  readonly mtu: number;
  readonly wireguard: WireGuardInterface;
  readonly table: PeerTable;
  /** Where the relay is now. */
  readonly relay: () => Endpoint | undefined;
  /** A direct path was found. */
  readonly onDirect: () => void;
}

/** Joins the machine that chooses paths to the device: its probes, its clock, and where data goes. */
export class PathDriver {
  readonly paths: Paths;
  readonly #options: PathDriverOptions;
  readonly #box: ProbeBox;
  readonly #asked = new Map<number, (rtt: number | undefined) => void>();
  /** Who is greeted when there is a way, and how soon then. */
  #greetings = new Map<number, number>();
  readonly #greeting = new Set<NodeJS.Timeout>();
  #timer: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(options: PathDriverOptions) {
    const { crypto, privateKey, id, inside, mtu } = options;
    this.#options = options;
    this.#box = new ProbeBox(crypto, privateKey, id);
    this.paths = new Paths({ crypto, inside, dataLength: mtu + TRANSPORT.minLength });
  }

  add({ id, key }: Member, stored: Endpoint | undefined): void {
    this.#box.addPeer(id, this.#options.crypto.publicKey(Buffer.from(key, 'base64')));
    this.paths.addPeer(id, stored, this.#now());
  }

  /** @param plan see `greetings`; to be told before peers are added */
  greet(plan: Map<number, number>): void {
    this.#greetings = plan;
  }

  remove(id: number): void {
    this.#greetings.delete(id);
    this.paths.removePeer(id);
    this.#box.removePeer(id);
  }

  /** A probe came, from whomever. */
  handleProbe(bytes: Uint8Array, from: PeerEndpoint): void {
    const opened = this.#box.open(bytes, this.#now());
    if (opened === undefined || (from.relayPeer !== 0 && from.relayPeer !== opened.peer)) return;
    this.paths.handleProbe(opened.peer, opened.probe, from, this.#now());
    this.settle();
  }

  /** @returns whether any of those with traffic is reached through the relay, and whether one of these is silent */
  handleActivity(peers: Iterable<PeerActivity>): { readonly isRelayed: boolean; readonly isSilent: boolean } {
    let isRelayed = false;
    let isAnySilent = false;
    for (const { id, isSilent } of peers) {
      this.paths.handleActivity(id, this.#now());
      if (isSilent) this.paths.handleSilence(id, this.#now());
      if (!this.paths.isRelayed(id)) continue;
      isRelayed = true;
      isAnySilent ||= isSilent;
    }
    this.settle();
    return { isRelayed, isSilent: isAnySilent };
  }

  setRelay(relay: Endpoint | undefined, why: string): void {
    this.#options.wireguard.setRelay(relay);
    this.paths.setRelay(relay !== undefined, why, this.#now());
    if (relay !== undefined) this.paths.retellRelayed();
    this.settle();
  }

  setOwn(candidates: readonly Endpoint[], isComplete: boolean): void {
    this.paths.setOwn(candidates, isComplete, this.#now());
    this.settle();
  }

  /** What is routed into the tunnel has changed. */
  setInside(inside: readonly Cidr[]): void {
    this.paths.setInside(inside, this.#now());
    this.settle();
  }

  /** @returns milliseconds; undefined when there was no answer in time */
  async ping(id: number): Promise<number | undefined> {
    const token = this.paths.ping(id, this.#now());
    if (token === undefined) return undefined;
    return new Promise((resolve) => {
      this.#asked.set(token, resolve);
      this.settle();
    });
  }

  status(id: number): PathStatus | undefined {
    const now = this.#now();
    return this.paths.status(id, now, Date.now() - now);
  }

  /** Carries out what the paths want. */
  settle(): void {
    if (this.#closed) return;
    for (let event = this.paths.poll(); event; event = this.paths.poll()) {
      if (event.kind === 'probe') this.#send(event);
      else if (event.kind === 'use') this.#use(event.peer, event.endpoint);
      else {
        this.#asked.get(event.token)?.(event.rtt);
        this.#asked.delete(event.token);
      }
    }
    clearTimeout(this.#timer);
    const delay = Math.min(LONGEST_SLEEP, Math.max(0, this.paths.nextTimeout() - this.#now()));
    this.#timer = setTimeout(() => {
      this.paths.handleTimeout(this.#now(), PEERS_PER_TURN);
      this.settle();
    }, Math.ceil(delay));
  }

  /** Erases the keys; who waits for an answer gets none. */
  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    for (const timer of this.#greeting) clearTimeout(timer);
    for (const answer of this.#asked.values()) answer(undefined);
    this.#asked.clear();
    this.#box.close();
  }

  #send({ peer, probe, to, back, hops }: Extract<ReturnType<Paths['poll']>, { kind: 'probe' }>): void {
    const { wireguard, relay } = this.#options;
    const bytes = this.#box.seal(peer, probe);
    if (bytes === undefined) return;
    if (back !== undefined) {
      wireguard.sendBeside(bytes, back as PeerEndpoint); // from the address of ours that was written to
    } else if (to !== undefined) {
      wireguard.sendBeside(bytes, wireguard.endpoint(to), hops);
    } else {
      const remote = relay();
      if (remote !== undefined) wireguard.sendBeside(bytes, wireguard.endpoint(remote, peer));
    }
  }

  #use(peer: number, endpoint: Endpoint | undefined): void {
    const { table, relay, onDirect } = this.#options;
    const remote = endpoint ?? relay();
    if (remote !== undefined) {
      table.setEndpoint(peer, remote, endpoint === undefined);
      this.#greet(peer);
    }
    if (endpoint !== undefined) onDirect();
  }

  /** From the first way on: `setEndpoint` tries a handshake that waits again on each other one. */
  #greet(peer: number): void {
    const delay = this.#greetings.get(peer);
    this.#greetings.delete(peer);
    if (delay !== undefined) this.#greetIn(delay, peer);
  }

  #greetIn(delay: number, peer: number): void {
    const timer = setTimeout(() => {
      this.#greeting.delete(timer);
      if (this.#options.wireguard.isUp) this.#options.table.greet(peer);
      else this.#greetIn(UNTIL_UP, peer); // the kernel's word that the device is up takes its time
    }, delay);
    this.#greeting.add(timer);
  }

  #now(): number {
    return this.#options.wireguard.now();
  }
}

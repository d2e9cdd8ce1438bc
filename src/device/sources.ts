import type { IpAddress } from '../ip/address.js';
import type { Egress } from '../linux/net/egress.js';
import type { SocketEndpoint } from '../tunnel/engine.js';
import type { Peer } from '../wireguard/peer.js';

/** How many peers are reviewed before other events get their turn. */
const PEERS_PER_TURN = 64;

/** A pause after each round, as a multiple of its duration: routes may change all the time. */
const REST = 10;

/** How many answers of the kernel are remembered: enough for all but servers with very many peers. */
const REMEMBERED = 65_536;

export interface SourcesOptions {
  /** By which interface packets from a local address to another address leave: `EgressLookup.find`. */
  readonly egress: (from: IpAddress, to: IpAddress, mark: number) => Egress;
  /** Milliseconds of a clock that does not go back. */
  readonly now: () => number;
  readonly peers: () => Iterable<Peer>;
  /** Called when a peer's endpoint must be used with its source address, or without. */
  readonly change: (peer: Peer, endpoint: SocketEndpoint, use: boolean) => void;
}

/**
 * Decides whether a peer is answered from the local address that it wrote to. It is, as long as packets to it leave by
 * the interface that its own arrived on. If there is a better route, or the address is gone, the kernel chooses.
 * WireGuard in the kernel does the same (send4() in drivers/net/wireguard/socket.c) and looks up each packet's route.
 * Here the kernel is asked when a peer's endpoint changes, and when routes, addresses or devices change.
 */
export class Sources {
  readonly #options: SourcesOptions;
  /** The kernel's answers since the last change. */
  readonly #answers = new Map<string, boolean>();
  #mark = 0;
  /** The peers that this round has not reviewed yet, the next one last. */
  #left: Peer[] = [];
  #turn: NodeJS.Immediate | undefined;
  #rest: NodeJS.Timeout | undefined;
  /** Whether anything has changed since the round began. */
  #isStale = false;

  constructor(options: SourcesOptions) {
    this.#options = options;
  }

  set mark(mark: number) {
    this.#mark = mark;
    this.#answers.clear();
  }

  /** An endpoint as it must be used now. */
  judged(endpoint: SocketEndpoint): SocketEndpoint {
    return endpoint.using(this.#holds(endpoint));
  }

  /** A peer wrote from another address, or to another local address. */
  review(peer: Peer): void {
    const endpoint = peer.endpoint as SocketEndpoint | undefined;
    if (!endpoint?.source) return;
    const use = this.#holds(endpoint);
    if (use !== endpoint.source.used) this.#options.change(peer, endpoint.using(use), use);
  }

  /** Routes, addresses or devices have changed: reviews all peers, now or after the current round. */
  changed(): void {
    this.#answers.clear();
    this.#isStale = true;
    if (this.#turn === undefined && this.#rest === undefined) this.#begin();
  }

  close(): void {
    clearImmediate(this.#turn);
    clearTimeout(this.#rest);
  }

  #begin(): void {
    this.#isStale = false;
    this.#left = [...this.#options.peers()].reverse();
    this.#look(0);
  }

  /** @param before milliseconds that the round has taken so far */
  #look(before: number): void {
    const began = this.#options.now();
    for (const peer of this.#left.splice(-PEERS_PER_TURN).reverse()) {
      if (!peer.isRemoved) this.review(peer);
    }
    const spent = before + this.#options.now() - began;
    this.#turn = this.#left.length > 0 ? setImmediate(() => this.#look(spent)) : undefined;
    if (this.#turn !== undefined) return;
    this.#rest = setTimeout(() => {
      this.#rest = undefined;
      if (this.#isStale) this.#begin();
    }, REST * spent);
  }

  #holds({ remote, source }: SocketEndpoint): boolean {
    if (source === undefined || remote.scope) return true; // a link-local address never leaves its interface
    const key = `${remote.address} ${source.address} ${source.interface}`;
    let answer = this.#answers.get(key);
    if (answer === undefined) {
      answer = this.#ask(remote.address, source.address, source.interface);
      if (this.#answers.size >= REMEMBERED) this.#answers.clear();
      this.#answers.set(key, answer);
    }
    return answer;
  }

  #ask(to: IpAddress, from: IpAddress, number: number): boolean {
    const egress = this.#options.egress(from, to, this.#mark);
    // Without a route nothing passes anyway, and a change will be reported.
    return egress === number || egress === 'local' || egress === 'no route';
  }
}

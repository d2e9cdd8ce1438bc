import { formatAddress, type IpAddress } from '../../../ip/address.js';
import { contains, LOOPBACK } from '../../../ip/cidr.js';
import type { Endpoint } from '../../../ip/endpoint.js';
import { CLOSE_CODE } from '../../../protocol/channel.js';
import type { MapChange } from '../../../protocol/map.js';
import type {
  AdminAnswers,
  AdminRequest,
  Answers,
  HubMessage,
  Membership,
  NetworkInfo,
  RelayCredentials,
} from '../../../protocol/messages.js';
import type { HubAddress } from '../../../protocol/token.js';
import { randomFraction } from '../../../wireguard/crypto.js';
import { describe, HubSocket, type Target } from '../../shell/hub-socket.js';
import { Backoff, TWINS } from './backoff.js';
import { closeFailure, HubFailure } from './hub-failure.js';
import { HubSearch } from './hub-search.js';
import {
  HubSession,
  type Member,
  type Questions,
  type QuestionType,
  type SessionOptions,
  type SessionOutput,
} from './hub-session.js';
import { SearchPatience } from './search-patience.js';

export type HubEvent =
  /** This node is a member now, and has to be kept as such. Once, and only where `join` was given. */
  | { readonly kind: 'joined'; readonly network: NetworkInfo; readonly you: Membership }
  /** Attached. It comes again after `disconnected`, and when a map did not fit: with other credentials for the relay. */
  | {
      readonly kind: 'connected';
      /** For people: `203.0.113.5:443`. */
      readonly where: string;
      /** Where the connection leads: the relay's UDP port is at the same address. */
      readonly remote: Endpoint;
      /** Our end of it: an address of this machine that leads to the hub. */
      readonly local: Endpoint;
      readonly network: NetworkInfo;
      readonly you: Membership;
      readonly relay: RelayCredentials;
      /** The address by which it was reached. */
      readonly by: HubAddress;
      /** Where the hub says that it is. */
      readonly addresses: readonly HubAddress[];
    }
  /** The map (`options.map`) was changed already. */
  | { readonly kind: 'map'; readonly change: MapChange }
  /** Something of this node's own. */
  | { readonly kind: 'you'; readonly you: Membership }
  /** Where the hub says that it is from now on. */
  | { readonly kind: 'addresses'; readonly addresses: readonly HubAddress[] }
  /** Another machine, at this address, tried to connect with this node's key. */
  | { readonly kind: 'twin'; readonly address: string }
  /** Who is connected to the hub, and who is not. */
  | { readonly kind: 'presence'; readonly presence: Extract<HubMessage, { type: 'presence' }> }
  /** Through the WebSocket. The datagram is good until the handler returns. */
  | { readonly kind: 'frame'; readonly peer: number; readonly datagram: Uint8Array }
  /** This node is no member any more. The client has ended. */
  | { readonly kind: 'removed'; readonly failure: HubFailure }
  /** There is no connection. The client tries again in `retryIn` milliseconds, or has ended when that is undefined. */
  | { readonly kind: 'disconnected'; readonly failure: HubFailure; readonly retryIn: number | undefined };

/** What a client does at the moment, for a status. */
export type HubState =
  | { readonly kind: 'connecting'; readonly where: string }
  | { readonly kind: 'connected'; readonly where: string }
  | { readonly kind: 'waiting'; readonly failure: HubFailure }
  | { readonly kind: 'ended'; readonly failure: HubFailure };

export interface HubClientOptions extends Omit<SessionOptions, 'as'> {
  /** Tried in this order, beside each other, names after addresses; until `setAddresses`. */
  readonly addresses: readonly HubAddress[];
  /** Called in the order in which things happen, and never from within a call to the client but `close`. */
  readonly onEvent: (event: HubEvent) => void;
  /**
   * Of who joins: whether the network suits this machine. What it throws ends the client, and is the `cause` of the
   * failure; its message is shown.
   */
  readonly check?: ((network: NetworkInfo) => void | Promise<void>) | undefined;
  /** A double in [0, 1); by default the crypto's. */
  readonly random?: (() => number) | undefined;
}

/** How long somebody who waits to join is left waiting for a hub that is away or busy, milliseconds. */
const JOIN_PATIENCE = 60_000;
/** Between two probes that others ask for, milliseconds: a peer that is gone lets them think for long that the hub is. */
const PROBE_PAUSE = 5_000;

interface Attempt {
  readonly socket: HubSocket;
  readonly session: HubSession;
}

/**
 * A node's client of the hub, over real sockets: finds the hub at one of its addresses, joins or attaches, follows the
 * map, and comes back when the connection breaks. It decides nothing but that: what the hub says is the caller's to
 * believe.
 */
export class HubClient {
  readonly #options: HubClientOptions;
  readonly #backoff: Backoff;
  /** Between tries while another machine is connected with this node's key. */
  readonly #twins: Backoff;
  readonly #attempts = new Set<Attempt>();
  readonly #run: string;
  /** Of the connections that this process has begun. */
  #turn = 0;
  #member: Member;
  #addresses: readonly HubAddress[];
  #state: HubState;
  #search: HubSearch | undefined;
  /** The connection that is used. */
  #current: Attempt | undefined;
  #attachedAt = 0;
  #probedAt = -Infinity;
  #startedAt = 0;
  /** The address that was last good comes first. */
  #preferred: Target | undefined;
  #timer: NodeJS.Timeout | undefined;
  #timerAt = Infinity;
  readonly #patience = new SearchPatience();
  #anewTimer: NodeJS.Timeout | undefined;
  /** Whether the hub may already know us, though its answer was lost. */
  #hasAskedToJoin = false;

  constructor(options: HubClientOptions) {
    this.#options = options;
    this.#member = options.member;
    this.#addresses = options.addresses;
    const run = new Uint8Array(8);
    options.crypto.random(run);
    this.#run = Buffer.from(run).toString('hex');
    const random = options.random ?? (() => randomFraction(options.crypto));
    this.#backoff = new Backoff(random);
    this.#twins = new Backoff(random, TWINS);
    this.#state = { kind: 'connecting', where: '' };
  }

  get state(): HubState {
    return this.#state;
  }

  /** Begins. Once. */
  start(): void {
    this.#startedAt = performance.now();
    this.#connect();
  }

  /** The hub is to be looked for there from now on; what is connected stays. Where nothing is, it is tried at once. */
  setAddresses(addresses: readonly HubAddress[], { now = false } = {}): void {
    this.#addresses = addresses;
    if (!now || this.#current !== undefined || this.#state.kind === 'ended') return;
    this.#backoff.reset();
    this.#abandonAll('the hub has other addresses now');
    this.#connect();
  }

  /** Ends. Questions under way fail. No event comes after this. */
  close(): void {
    this.#stop(new HubFailure('closed', 'the client was closed'));
  }

  /**
   * This machine's network has changed: a connection must show that it still is one, and what is being tried is tried anew.
   *
   * @param isOwn whether an address is one of this machine's still
   */
  networkChanged(isOwn: (address: IpAddress) => boolean): void {
    if (this.#state.kind === 'ended') return;
    const current = this.#current;
    if (current === undefined) {
      this.#connectAnew();
      return;
    }
    const { local } = current.socket;
    const isHere = (address: IpAddress): boolean =>
      isOwn(address) || LOOPBACK.some((network) => contains(network, address));
    if (local === undefined || isHere(local.address)) {
      this.#do(current.session.probe(performance.now()), current);
    } else {
      const why = `the address ${formatAddress(local.address)}, by which the hub was reached, is gone`;
      this.#do(current.session.close(new HubFailure('lost', why)), current);
    }
  }

  /** Asks the hub whether it is still there, and connects anew when it does not say so soon. Not more often than it helps. */
  probe(): void {
    const current = this.#current;
    const now = performance.now();
    if (current === undefined || now - this.#probedAt < PROBE_PAUSE) return;
    this.#probedAt = now;
    this.#do(current.session.probe(now), current);
  }

  /**
   * Asks the hub.
   * @throws HubFailure when it refuses, does not answer in time, or is away
   */
  request<T extends Exclude<QuestionType, 'attach'>>(type: T, args: Questions[T]): Promise<Answers[T]> {
    return new Promise((resolve, reject) => {
      const session = this.#attached(reject);
      if (session !== undefined)
        this.#do(session.session.request(performance.now(), type, args, resolve, reject), session);
    });
  }

  /** Attaches anew, for other credentials of the relay. @throws HubFailure */
  attachAgain(): Promise<Answers['attach']> {
    return new Promise((resolve, reject) => {
      const current = this.#attached(reject);
      if (current !== undefined)
        this.#do(current.session.attachAgain(performance.now(), resolve, reject), current);
    });
  }

  /** The same for administrators. @throws HubFailure */
  admin<R extends AdminRequest>(request: R): Promise<AdminAnswers[R['op']]> {
    return new Promise((resolve, reject) => {
      const session = this.#attached(reject);
      if (session !== undefined)
        this.#do(session.session.admin(performance.now(), request, resolve, reject), session);
    });
  }

  /** Sends a datagram through the hub to a member. @returns false when it was dropped: no connection, or too much waits */
  sendFrame(peer: number, datagram: Uint8Array): boolean {
    const current = this.#current;
    if (current === undefined || current.socket.isBusy) return false;
    const bytes = current.session.sealFrame(peer, datagram);
    return bytes !== undefined && current.socket.sendFrame(bytes);
  }

  #attached(reject: (failure: HubFailure) => void): Attempt | undefined {
    if (this.#current?.session.isAttached) return this.#current;
    const { failure } = this.#state as { failure?: HubFailure };
    reject(
      new HubFailure(
        'unreachable',
        `there is no connection to the hub${failure ? `: ${failure.message}` : ''}`,
        failure?.refusal && { refusal: failure.refusal },
      ),
    );
    return undefined;
  }

  #connect(): void {
    this.#endSearch();
    this.#patience.begin(performance.now());
    const addresses = this.#addresses;
    this.#state = {
      kind: 'connecting',
      where: addresses.map(({ host, port }) => `${host}:${port}`).join(', '),
    };
    const search = new HubSearch(this.#preferred, {
      attempt: (target) => this.#attempt(search, target),
      waiting: () => this.#schedule(),
      lost: (failure) => this.#disconnected(failure, 0),
    });
    this.#search = search;
    search.start(addresses);
  }

  /** What is tried in vain in another network is given up, as far as there is no patience with it. */
  #connectAnew(): void {
    clearTimeout(this.#anewTimer);
    if (this.#current !== undefined || this.#state.kind === 'ended') return;
    const rest = this.#patience.rest(performance.now());
    if (this.#state.kind === 'connecting' && rest > 0) {
      this.#anewTimer = setTimeout(() => this.#connectAnew(), rest);
      return;
    }
    this.#patience.abandon();
    this.#backoff.reset();
    this.#abandonAll('this machine is in another network now');
    this.#connect();
  }

  #endSearch(): void {
    this.#search?.end();
    this.#search = undefined;
  }

  #attempt(search: HubSearch, target: Target): void {
    const as = { run: this.#run, turn: ++this.#turn };
    const session = new HubSession({ ...this.#options, member: this.#member, as });
    const socket = new HubSocket(target, {
      connected: () => {
        search.answered();
        this.#schedule();
      },
      opened: () => this.#do(session.start(performance.now()), attempt),
      message: (bytes) => this.#do(session.handle(bytes, performance.now()), attempt),
      pong: () => session.handlePong(),
      failed: (failure) => this.#do(session.close(failure), attempt),
      closed: (code) => {
        const failure = closeFailure(describe(target), code, attempt === this.#current);
        this.#do(session.close(failure), attempt);
      },
    });
    const attempt = { socket, session };
    this.#attempts.add(attempt);
  }

  #do(outputs: readonly SessionOutput[], attempt: Attempt): void {
    for (const output of outputs) this.#perform(output, attempt);
    this.#schedule();
  }

  #perform(output: SessionOutput, attempt: Attempt): void {
    const { socket, session } = attempt;
    switch (output.kind) {
      case 'send':
        socket.send(output.bytes);
        return;
      case 'ping':
        socket.ping();
        return;
      case 'open':
        this.#won(attempt);
        return;
      case 'look':
        void this.#look(output.network, attempt);
        return;
      case 'joined':
        this.#member = { network: output.network.id };
        this.#options.onEvent(output);
        return;
      case 'attached': {
        const where = describe(socket.target);
        const { remote, local } = socket;
        if (remote === undefined || local === undefined) return; // it has just broken
        this.#attachedAt = performance.now();
        this.#state = { kind: 'connected', where };
        const by = socket.target.address;
        this.#options.onEvent({ ...output, kind: 'connected', where, by, remote, local });
        return;
      }
      case 'map':
      case 'you':
      case 'addresses':
      case 'presence':
      case 'twin':
      case 'frame':
        this.#options.onEvent(output);
        return;
      case 'ended':
        this.#attempts.delete(attempt);
        if (session === this.#current?.session) this.#lost(output.failure, socket);
        else this.#failed(output.failure, socket);
    }
  }

  /** This connection is the one; the others are let go. */
  #won(attempt: Attempt): void {
    this.#endSearch();
    this.#patience.reset();
    this.#current = attempt;
    this.#preferred = attempt.socket.target;
    this.#attachedAt = 0;
    this.#attempts.delete(attempt);
    this.#abandonAll('another address was faster');
    this.#attempts.add(attempt);
    this.#do(attempt.session.begin(performance.now()), attempt);
  }

  /** Lets go of all connections that are not there yet. */
  #abandonAll(why: string): void {
    for (const { socket, session } of this.#attempts) {
      socket.abandon();
      session.close(new HubFailure('closed', why));
    }
    this.#attempts.clear();
  }

  async #look(network: NetworkInfo, attempt: Attempt): Promise<void> {
    try {
      await this.#options.check?.(network);
    } catch (error) {
      const failure = new HubFailure('unwanted', (error as Error).message, { cause: error });
      this.#do(attempt.session.close(failure), attempt);
      return;
    }
    if (attempt !== this.#current) return;
    this.#hasAskedToJoin = true;
    this.#do(attempt.session.proceed(performance.now()), attempt);
  }

  /** An attempt came to nothing. */
  #failed(failure: HubFailure, socket: HubSocket): void {
    socket.abandon();
    this.#search?.failed(failure);
  }

  #lost(failure: HubFailure, socket: HubSocket): void {
    if (failure.kind === 'lost') socket.abandon();
    else socket.close(failure.kind === 'protocol' ? CLOSE_CODE.protocol : undefined);
    this.#current = undefined;
    this.#disconnected(failure, this.#attachedAt === 0 ? 0 : performance.now() - this.#attachedAt);
  }

  get #isMember(): boolean {
    return 'network' in this.#member;
  }

  /** @param lasted how long the node was attached, milliseconds */
  #disconnected(failure: HubFailure, lasted: number): void {
    this.#endSearch();
    this.#patience.reset();
    if (failure.kind === 'removed' || !this.#mayRetry(failure)) {
      this.#stop(failure);
      const isRemoved = failure.kind === 'removed' && this.#isMember;
      this.#options.onEvent(
        isRemoved ? { kind: 'removed', failure } : { kind: 'disconnected', failure, retryIn: undefined },
      );
      return;
    }
    if (isLasting(failure)) this.#backoff.exhaust();
    const retryIn = failure.refusal === 'twin' ? this.#twins.next() : this.#backoff.next(lasted);
    this.#state = { kind: 'waiting', failure };
    this.#setTimer(performance.now() + retryIn);
    this.#options.onEvent({ kind: 'disconnected', failure, retryIn });
  }

  /** A member tries for ever. Who wants to become one is told what is wrong, unless it may be over in a moment. */
  #mayRetry(failure: HubFailure): boolean {
    if (this.#isMember) return failure.kind !== 'unwanted';
    if (performance.now() - this.#startedAt > JOIN_PATIENCE) return false;
    if (failure.refusal === 'unavailable' || failure.refusal === 'too-many') return true;
    return failure.kind === 'lost' || (this.#hasAskedToJoin && failure.kind === 'unreachable');
  }

  #stop(failure: HubFailure): void {
    if (this.#state.kind === 'ended') return;
    this.#state = { kind: 'ended', failure };
    this.#endSearch();
    clearTimeout(this.#timer);
    clearTimeout(this.#anewTimer);
    const current = this.#current;
    this.#current = undefined;
    for (const { session, socket } of this.#attempts) {
      session.close(failure);
      if (current?.socket === socket) socket.close();
      else socket.abandon();
    }
    this.#attempts.clear();
  }

  /** One timer for everything; set anew only when it would be too late. */
  #schedule(): void {
    if (this.#state.kind === 'waiting' || this.#state.kind === 'ended') return;
    let next = this.#search?.nextTimeout() ?? Infinity;
    for (const { session } of this.#attempts) next = Math.min(next, session.nextTimeout());
    if (next < this.#timerAt) this.#setTimer(next);
  }

  #setTimer(at: number): void {
    clearTimeout(this.#timer);
    this.#timerAt = at;
    this.#timer = setTimeout(() => this.#tick(), Math.max(0, Math.ceil(at - performance.now())));
  }

  #tick(): void {
    this.#timerAt = Infinity;
    if (this.#state.kind === 'waiting') {
      this.#connect();
      return;
    }
    const now = performance.now();
    for (const attempt of [...this.#attempts]) {
      if (attempt.session.nextTimeout() <= now) this.#do(attempt.session.handleTimeout(now), attempt);
    }
    this.#search?.go();
    this.#schedule();
  }
}

/** What will not have changed in a moment. */
const LASTING: ReadonlySet<string> = new Set(['other-hub', 'other-network', 'version', 'protocol']);
const isLasting = ({ kind, refusal }: HubFailure): boolean => LASTING.has(kind) || refusal === 'not-a-member';

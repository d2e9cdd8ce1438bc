import { formatAddress, type IpAddress } from '../../../ip/address.js';
import { contains, LOOPBACK } from '../../../ip/cidr.js';
import type { Endpoint } from '../../../ip/endpoint.js';
import { CLOSE_CODE } from '../../../protocol/channel.js';
import type { AdminRequest } from '../../../protocol/messages.js';
import type { NodeId } from '../../../protocol/node-id.js';
import type { HubAddress } from '../../../protocol/token.js';
import { randomFraction } from '../../../wireguard/crypto.js';
import { EventQueue } from '../../../wireguard/event-queue.js';
import { Backoff, TWINS } from './backoff.js';
import type { HubCommand, HubEvent, HubState } from './hub-events.js';
import { closeFailure, connectFailure, HubFailure } from './hub-failure.js';
import { HubSearch } from './hub-search.js';
import {
  HubSession,
  type MembershipRequest,
  type Questions,
  type QuestionType,
  type SessionOptions,
  type SessionOutput,
} from './hub-session.js';
import { SearchPatience } from './search-patience.js';
import { describe, type Target } from './target.js';

export interface HubClientOptions extends Omit<SessionOptions, 'as'> {
  /** Tried in this order, beside each other, names after addresses; until `setAddresses`. */
  readonly addresses: readonly HubAddress[];
  /** A double in [0, 1); by default the crypto's. */
  readonly random?: (() => number) | undefined;
}

/** How long a machine that joins waits for a hub that is away or busy, milliseconds. */
const JOIN_PATIENCE = 60_000;
/** Between two probes that others ask for, milliseconds: a peer that is gone says for long that the hub may be, too. */
const PROBE_PAUSE = 5_000;
/**
 * How long TCP (and TLS) may take, and the WebSocket after that; milliseconds. Where thousands come back at once, a
 * connection that was accepted waits: to give up and come again would only make it longer for all.
 */
const CONNECTING = 10_000;
const OPENING = 30_000;

interface Attempt {
  readonly id: number;
  readonly target: Target;
  readonly session: HubSession;
  /** When to give up on TCP, or on the WebSocket. */
  deadline: number;
  remote?: Endpoint;
  local?: Endpoint;
}

/**
 * A node's client of the hub: finds the hub at one of its addresses, joins or attaches, follows the map, and comes back
 * when the connection breaks. It decides nothing but that: what the hub says is the caller's to believe. Sans-I/O.
 *
 * Contract. After every call take all of `poll()`, and call `handleTimeout` when `nextTimeout()` comes. `now` is in
 * milliseconds, of a clock that never goes back. A connection is a WebSocket, known by its number from `dial` until it is
 * closed or aborted, or `handleFailed` or `handleClosed` has ended it.
 */
export class HubClient {
  readonly #options: HubClientOptions;
  readonly #backoff: Backoff;
  /** Between tries while another machine is connected with this node's key. */
  readonly #twins: Backoff;
  readonly #attempts = new Map<number, Attempt>();
  readonly #outputs = new EventQueue<HubCommand | HubEvent>();
  readonly #patience = new SearchPatience();
  /** This process, for the hub to tell it from others with the same key. */
  readonly #run: string;
  /** Connections that this process has begun. */
  #turn = 0;
  #nextToken = 1;
  #member: MembershipRequest;
  #addresses: readonly HubAddress[];
  #state: HubState = { kind: 'connecting', where: '' };
  #search: HubSearch | undefined;
  /** The connection that is used. */
  #current: Attempt | undefined;
  /** The connection whose network was shown, and is not judged yet. */
  #shown: Attempt | undefined;
  #now = -Infinity;
  #attachedAt = 0;
  #probedAt = -Infinity;
  #startedAt = 0;
  /** The address that was last good comes first. */
  #preferred: Target | undefined;
  /** When to search again. */
  #retryAt = Infinity;
  /** When to begin the search anew, for the network has changed. */
  #anewAt = Infinity;
  /** Whether the hub may already know this node, though its answer was lost. */
  #hasAskedToJoin = false;

  constructor(options: HubClientOptions) {
    this.#options = options;
    this.#member = options.member;
    this.#addresses = options.addresses;
    const run = new Uint8Array(8);
    options.crypto.random(run);
    this.#run = Array.from(run, (byte) => byte.toString(16).padStart(2, '0')).join('');
    const random = options.random ?? (() => randomFraction(options.crypto));
    this.#backoff = new Backoff(random);
    this.#twins = new Backoff(random, TWINS);
  }

  get state(): HubState {
    return this.#state;
  }

  /** When that happened which `poll` tells of. */
  get now(): number {
    return this.#now;
  }

  poll(): HubCommand | HubEvent | undefined {
    return this.#outputs.poll();
  }

  nextTimeout(): number {
    let next = Math.min(this.#retryAt, this.#anewAt, this.#search?.nextTimeout() ?? Infinity);
    for (const { session, deadline } of this.#attempts.values())
      next = Math.min(next, deadline, session.nextTimeout());
    return next;
  }

  handleTimeout(now: number): void {
    for (const attempt of [...this.#attempts.values()]) {
      if (attempt.deadline <= now)
        this.handleFailed(attempt.id, connectFailure(describe(attempt.target), 'ETIMEDOUT'), now);
      else if (attempt.session.nextTimeout() <= now)
        this.#do(attempt.session.handleTimeout(now), attempt, now);
    }
    if (this.#anewAt <= now) this.#searchAnew(now);
    if (this.#retryAt <= now) this.#connect(now);
    else this.#goOn(now);
  }

  // What the owner wants.

  /** Begins. Once. */
  start(now: number): void {
    this.#startedAt = now;
    this.#connect(now);
  }

  /** Searches there from now on; a connection stays. @param atOnce whether to search now where there is none */
  setAddresses(addresses: readonly HubAddress[], now: number, { atOnce = false } = {}): void {
    this.#addresses = addresses;
    if (!atOnce || this.#current !== undefined || this.#state.kind === 'ended') return;
    this.#backoff.reset();
    this.#abandonAll('the hub has other addresses now');
    this.#connect(now);
  }

  /** Ends. Questions under way fail. No event but their failures comes after this. */
  close(): void {
    this.#stop(new HubFailure('closed', 'the client was closed'));
  }

  /**
   * This machine's network has changed: a connection must show that it still works, and a search begins anew.
   *
   * @param isOwn whether an address is one of this machine's still
   */
  networkChanged(isOwn: (address: IpAddress) => boolean, now: number): void {
    if (this.#state.kind === 'ended') return;
    const current = this.#current;
    if (current === undefined) {
      this.#searchAnew(now);
      return;
    }
    const { local } = current;
    const isHere = (address: IpAddress): boolean =>
      isOwn(address) || LOOPBACK.some((network) => contains(network, address));
    if (local === undefined || isHere(local.address)) {
      this.#do(current.session.probe(now), current, now);
    } else {
      const why = `the address ${formatAddress(local.address)}, by which the hub was reached, is gone`;
      this.#do(current.session.close(new HubFailure('lost', why)), current, now);
    }
  }

  /** Asks the hub whether it is still there, and connects anew when it does not say so soon; every few seconds at most. */
  probe(now: number): void {
    const current = this.#current;
    if (current === undefined || now - this.#probedAt < PROBE_PAUSE) return;
    this.#probedAt = now;
    this.#do(current.session.probe(now), current, now);
  }

  /** The network of the event `invitation` suits this machine: joins it. */
  proceed(now: number): void {
    const current = this.#current;
    if (current === undefined || current !== this.#shown) return; // it broke meanwhile: the next one shows it again
    this.#shown = undefined;
    this.#hasAskedToJoin = true;
    this.#do(current.session.proceed(now), current, now);
  }

  /** The network does not suit this machine: ends. @param cause whose message says why */
  refuse(cause: Error, now: number): void {
    const current = this.#current;
    const failure = new HubFailure('unwanted', cause.message, { cause });
    if (current !== undefined) this.#do(current.session.close(failure), current, now);
    else this.#disconnected(failure, 0, now);
  }

  /**
   * Asks the hub.
   * @returns what the event `answer` will bear
   */
  ask<T extends Exclude<QuestionType, 'attach'>>(type: T, args: Questions[T], now: number): number {
    return this.#asking(now, (session, resolve, reject) => session.request(now, type, args, resolve, reject));
  }

  /** Attaches anew, for other credentials of the relay. @returns what the event `answer` will bear */
  attachAgain(now: number): number {
    return this.#asking(now, (session, resolve, reject) => session.attachAgain(now, resolve, reject));
  }

  /** Asks as an administrator. @returns what the event `answer` will bear */
  admin(request: AdminRequest, now: number): number {
    return this.#asking(now, (session, resolve, reject) => session.admin(now, request, resolve, reject));
  }

  /** Whose connection a frame goes through; undefined while there is none. */
  get frameConnection(): number | undefined {
    return this.#current?.session.isAttached ? this.#current.id : undefined;
  }

  /** Seals a datagram for a member. What is sealed must be sent. @returns the message; undefined without a connection */
  sealFrame(peer: NodeId, datagram: Uint8Array): Uint8Array | undefined {
    return this.#current?.session.sealFrame(peer, datagram);
  }

  // What happens to connections.

  /** The addresses of a host, or why there are none. */
  handleResolved(host: string, found: readonly string[] | HubFailure, now: number): void {
    this.#search?.handleResolved(host, found);
    this.#goOn(now);
  }

  /** TCP, or TLS, stands. */
  handleConnected(connection: number, remote: Endpoint, local: Endpoint, now: number): void {
    const attempt = this.#attempts.get(connection);
    if (attempt === undefined) return;
    attempt.deadline = now + OPENING;
    attempt.remote = remote;
    attempt.local = local;
    this.#search?.answered(now);
  }

  /** The WebSocket is open. */
  handleOpened(connection: number, now: number): void {
    const attempt = this.#attempts.get(connection);
    if (attempt === undefined) return;
    attempt.deadline = Infinity;
    this.#do(attempt.session.start(now), attempt, now);
  }

  /** @param bytes one whole message; they are overwritten */
  handleMessage(connection: number, bytes: Uint8Array, now: number): void {
    const attempt = this.#attempts.get(connection);
    if (attempt !== undefined) this.#do(attempt.session.handle(bytes, now), attempt, now);
  }

  handlePong(connection: number): void {
    this.#attempts.get(connection)?.session.handlePong();
  }

  /** It could not be opened, or what came was no message. */
  handleFailed(connection: number, failure: HubFailure, now: number): void {
    const attempt = this.#attempts.get(connection);
    if (attempt !== undefined) this.#do(attempt.session.close(failure), attempt, now);
  }

  /** It was open, and is closed. @param code RFC 6455 §7.4 */
  handleClosed(connection: number, code: number, now: number): void {
    const attempt = this.#attempts.get(connection);
    if (attempt === undefined) return;
    const failure = closeFailure(describe(attempt.target), code, attempt === this.#current);
    this.#do(attempt.session.close(failure), attempt, now);
  }

  #asking<V>(
    now: number,
    ask: (
      session: HubSession,
      resolve: (value: V) => void,
      reject: (failure: HubFailure) => void,
    ) => SessionOutput[],
  ): number {
    const token = this.#nextToken++;
    const resolve = (value: V): void => this.#outputs.push({ kind: 'answer', token, value });
    const reject = (failure: HubFailure): void => this.#outputs.push({ kind: 'answer', token, failure });
    const current = this.#current;
    if (current?.session.isAttached) this.#do(ask(current.session, resolve, reject), current, now);
    else reject(this.#notConnected());
    return token;
  }

  #notConnected(): HubFailure {
    const { failure } = this.#state as { failure?: HubFailure };
    const why = failure === undefined ? '' : `: ${failure.message}`;
    const refusal = failure?.refusal;
    return new HubFailure('unreachable', `there is no connection to the hub${why}`, refusal && { refusal });
  }

  #connect(now: number): void {
    this.#retryAt = Infinity;
    this.#patience.begin(now);
    const where = this.#addresses.map(({ host, port }) => `${host}:${port}`).join(', ');
    this.#state = { kind: 'connecting', where };
    this.#search = new HubSearch(this.#preferred, this.#addresses);
    for (const host of this.#search.hosts()) this.#outputs.push({ kind: 'resolve', host });
    this.#goOn(now);
  }

  /** Tries what is due, and gives up when nothing is left. */
  #goOn(now: number): void {
    const search = this.#search;
    for (let target = search?.next(now); target !== undefined; target = search?.next(now))
      this.#dial(target, now);
    if (search?.failure !== undefined) this.#disconnected(search.failure, 0, now);
  }

  /** In another network a search is given up, as far as there is no patience with it. */
  #searchAnew(now: number): void {
    this.#anewAt = Infinity;
    if (this.#current !== undefined || this.#state.kind === 'ended') return;
    const rest = this.#patience.rest(now);
    if (this.#state.kind === 'connecting' && rest > 0) {
      this.#anewAt = now + rest;
      return;
    }
    this.#patience.abandon();
    this.#backoff.reset();
    this.#abandonAll('this machine is in another network now');
    this.#connect(now);
  }

  #dial(target: Target, now: number): void {
    const id = ++this.#turn;
    const session = new HubSession({
      ...this.#options,
      member: this.#member,
      as: { run: this.#run, turn: id },
    });
    this.#attempts.set(id, { id, target, session, deadline: now + CONNECTING });
    this.#outputs.push({ kind: 'dial', connection: id, target });
  }

  #do(outputs: readonly SessionOutput[], attempt: Attempt, now: number): void {
    this.#now = now;
    for (const output of outputs) this.#perform(output, attempt, now);
  }

  #perform(output: SessionOutput, attempt: Attempt, now: number): void {
    const connection = attempt.id;
    switch (output.kind) {
      case 'send':
        this.#outputs.push({ ...output, connection });
        return;
      case 'ping':
        this.#outputs.push({ ...output, connection });
        return;
      case 'open':
        this.#won(attempt, now);
        return;
      case 'joined':
        this.#member = { network: output.network.id };
        this.#outputs.push(output);
        return;
      case 'attached': {
        const { target, remote, local } = attempt;
        if (remote === undefined || local === undefined) return; // not a WebSocket's order of events
        const where = describe(target);
        this.#attachedAt = now;
        this.#state = { kind: 'connected', where };
        this.#outputs.push({ ...output, kind: 'connected', where, by: target.address, remote, local });
        return;
      }
      case 'ended':
        this.#attempts.delete(connection);
        if (attempt === this.#current) this.#lost(output.failure, connection, now);
        else this.#failed(output.failure, connection, now);
        return;
      case 'invitation':
        this.#shown = attempt;
        this.#outputs.push(output);
        return;
      default:
        this.#outputs.push(output);
    }
  }

  /** This connection is used; the others are let go. */
  #won(attempt: Attempt, now: number): void {
    this.#search = undefined;
    this.#patience.reset();
    this.#current = attempt;
    this.#preferred = attempt.target;
    this.#attachedAt = 0;
    this.#attempts.delete(attempt.id);
    this.#abandonAll('another address was faster');
    this.#attempts.set(attempt.id, attempt);
    this.#do(attempt.session.begin(now), attempt, now);
  }

  /** Lets go of all connections that do not stand yet. */
  #abandonAll(why: string): void {
    for (const { id, session } of this.#attempts.values()) {
      this.#outputs.push({ kind: 'abort', connection: id });
      session.close(new HubFailure('closed', why));
    }
    this.#attempts.clear();
  }

  /** An attempt came to nothing. */
  #failed(failure: HubFailure, connection: number, now: number): void {
    this.#outputs.push({ kind: 'abort', connection });
    this.#search?.failed(failure);
    this.#goOn(now);
  }

  #lost(failure: HubFailure, connection: number, now: number): void {
    if (failure.kind === 'lost') this.#outputs.push({ kind: 'abort', connection });
    else this.#hangUp(connection, failure.kind === 'protocol' ? CLOSE_CODE.protocol : undefined);
    this.#current = undefined;
    this.#disconnected(failure, this.#attachedAt === 0 ? 0 : now - this.#attachedAt, now);
  }

  #hangUp(connection: number, code = 1000): void {
    this.#outputs.push({ kind: 'close', connection, code });
  }

  get #isMember(): boolean {
    return 'network' in this.#member;
  }

  /** @param lasted how long the node was attached, milliseconds */
  #disconnected(failure: HubFailure, lasted: number, now: number): void {
    this.#now = now;
    this.#search = undefined;
    this.#patience.reset();
    if (failure.kind === 'removed' || !this.#mayRetry(failure, now)) {
      this.#stop(failure);
      const isRemoved = failure.kind === 'removed' && this.#isMember;
      this.#outputs.push(
        isRemoved ? { kind: 'removed', failure } : { kind: 'disconnected', failure, retryIn: undefined },
      );
      return;
    }
    if (isLasting(failure)) this.#backoff.exhaust();
    const retryIn = failure.refusal === 'twin' ? this.#twins.next() : this.#backoff.next(lasted);
    this.#state = { kind: 'waiting', failure };
    this.#retryAt = now + retryIn;
    this.#outputs.push({ kind: 'disconnected', failure, retryIn });
  }

  /** A member tries for ever. A machine that joins is told what is wrong, unless it may be over in a moment. */
  #mayRetry(failure: HubFailure, now: number): boolean {
    if (this.#isMember) return failure.kind !== 'unwanted';
    if (now - this.#startedAt > JOIN_PATIENCE) return false;
    if (failure.refusal === 'unavailable' || failure.refusal === 'too-many') return true;
    return failure.kind === 'lost' || (this.#hasAskedToJoin && failure.kind === 'unreachable');
  }

  #stop(failure: HubFailure): void {
    if (this.#state.kind === 'ended') return;
    this.#state = { kind: 'ended', failure };
    this.#search = undefined;
    this.#retryAt = this.#anewAt = Infinity;
    const current = this.#current;
    this.#current = undefined;
    for (const attempt of this.#attempts.values()) {
      attempt.session.close(failure);
      if (current === attempt) this.#hangUp(attempt.id);
      else this.#outputs.push({ kind: 'abort', connection: attempt.id });
    }
    this.#attempts.clear();
  }
}

/** What will not have changed in a moment. */
const LASTING: ReadonlySet<string> = new Set(['other-hub', 'other-network', 'version', 'protocol']);
const isLasting = ({ kind, refusal }: HubFailure): boolean => LASTING.has(kind) || refusal === 'not-a-member';

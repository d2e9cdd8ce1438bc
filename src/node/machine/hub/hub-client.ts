import { formatAddress, type IpAddress } from '../../../ip/address.js';
import { contains, LOOPBACK } from '../../../ip/cidr.js';
import type { Endpoint } from '../../../ip/endpoint.js';
import { CLOSE_CODE } from '../../../protocol/channel.js';
import type { Answers } from '../../../protocol/messages.js';
import type { NodeId } from '../../../protocol/node-id.js';
import type { HubAddress } from '../../../protocol/token.js';
import { randomFraction } from '../../../wireguard/crypto.js';
import { EventQueue } from '../../../wireguard/event-queue.js';
import { Backoff, TWINS } from './backoff.js';
import type { HubCommand, HubEvent, HubState } from './hub-events.js';
import { closeFailure, connectFailure, HubFailure } from './hub-failure.js';
import { HubSearch } from './hub-search.js';
import {
  type HubRequest,
  HubSession,
  type MembershipRequest,
  type SessionOptions,
  type SessionOutput,
} from './hub-session.js';
import { SearchPatience } from './search-patience.js';
import { describe, type Target } from './target.js';

export interface HubClientOptions extends Omit<SessionOptions, 'as'> {
  /** Tried in this order, with staggered starts, host names last. `setAddresses` replaces them. */
  readonly addresses: readonly HubAddress[];
  /** A double in [0, 1); by default the crypto's. */
  readonly random?: (() => number) | undefined;
}

/** How long a joining machine waits for a hub that is away or busy, milliseconds. */
const JOIN_PATIENCE = 60_000;
/** The shortest time between two calls of `probe` that count, milliseconds: a dead peer causes calls for a long time. */
const PROBE_PAUSE = 5_000;
/**
 * How long TCP (and TLS) may take, and the WebSocket after that; milliseconds. When thousands of nodes reconnect at once,
 * accepted connections wait. Giving up and retrying would only lengthen the wait for all.
 */
const CONNECTING = 10_000;
const OPENING = 30_000;

interface Attempt {
  readonly id: number;
  readonly target: Target;
  readonly session: HubSession;
  /** When to give up on TCP, or on the WebSocket. */
  deadline: number;
  /** Of the TCP connection. */
  remote?: Endpoint;
  local?: Endpoint;
  /** It has told the caller the network of the invitation, and `proceed` has not been called. */
  isShown?: boolean;
  attachedAt?: number;
}

/**
 * A node's client of the hub: finds the hub at one of its addresses, joins or attaches, follows the map, and reconnects.
 * It does not judge what the hub says: that is up to the caller. Sans-I/O.
 *
 * Contract. After every call take all of `poll()`, and call `handleTimeout` when `nextTimeout()` comes. `now` is in
 * milliseconds, of a clock that never goes back. A connection is a WebSocket. It keeps its number from `dial` until it is
 * closed or aborted, or until `handleFailed` or `handleClosed` is called for it.
 */
export class HubClient {
  readonly #options: HubClientOptions;
  readonly #backoff: Backoff;
  /** Used while another machine is connected with this node's key. */
  readonly #twins: Backoff;
  readonly #attempts = new Map<number, Attempt>();
  readonly #outputs = new EventQueue<HubCommand | HubEvent>();
  readonly #patience = new SearchPatience();
  /** Distinguishes this process from others with the same key. */
  readonly #run: string;
  /** How many connections this process has begun. */
  #turn = 0;
  #member: MembershipRequest;
  #addresses: readonly HubAddress[];
  #state: HubState = { kind: 'connecting' };
  #search: HubSearch | undefined;
  /** The connection in use. */
  #current: Attempt | undefined;
  #now = -Infinity;
  #probedAt = -Infinity;
  #startedAt = 0;
  /** The address that worked last: tried first. */
  #preferred: Target | undefined;
  /** When to search again. */
  #retryAt = Infinity;
  /** When to restart the search because the network has changed. */
  #anewAt = Infinity;
  /** The hub may already know this node, though its answer was lost. */
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

  /** The time of the events that `poll` returns. */
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
      const { id, target, session, deadline } = attempt;
      if (deadline <= now) this.handleFailed(id, connectFailure(describe(target), 'ETIMEDOUT'), now);
      else if (session.nextTimeout() <= now) this.#do(attempt, now, () => session.handleTimeout(now));
    }
    if (this.#anewAt <= now) this.#searchAnew(now);
    if (this.#retryAt <= now) this.#connect(now);
    else this.#continueSearch(now);
  }

  // What the caller wants.

  /** Call once. */
  start(now: number): void {
    this.#startedAt = now;
    this.#connect(now);
  }

  /** Later searches use these addresses; a connection stays. @param atOnce when not connected, searches now */
  setAddresses(addresses: readonly HubAddress[], atOnce: boolean, now: number): void {
    this.#addresses = addresses;
    if (!atOnce || this.#current !== undefined || this.#state.kind === 'ended') return;
    this.#restartSearch(now);
  }

  /** Ends. Pending requests fail; their failures are the last events. */
  close(): void {
    this.#stop(new HubFailure('closed', 'the client was closed'));
  }

  /**
   * This machine's network has changed: a connection must prove that it still works, and a search starts again.
   *
   * @param isOwn whether this machine still has an address
   */
  networkChanged(isOwn: (address: IpAddress) => boolean, now: number): void {
    if (this.#state.kind === 'ended') return;
    if (this.#current === undefined) {
      this.#searchAnew(now);
      return;
    }
    const { local, session } = this.#current;
    const isHere = (address: IpAddress): boolean =>
      isOwn(address) || LOOPBACK.some((network) => contains(network, address));
    this.#do(this.#current, now, () => {
      if (local === undefined || isHere(local.address)) session.probe(now);
      else {
        const why = `this machine no longer has the address ${formatAddress(local.address)}, which the connection used`;
        session.close(new HubFailure('lost', why));
      }
    });
  }

  /** Checks that the hub still answers, at most every few seconds; reconnects if it does not. */
  probe(now: number): void {
    const current = this.#current;
    if (current === undefined || now - this.#probedAt < PROBE_PAUSE) return;
    this.#probedAt = now;
    this.#do(current, now, () => current.session.probe(now));
  }

  /** Accepts the network of the event `invitation`: joins it. */
  proceed(now: number): void {
    const current = this.#current;
    if (!current?.isShown) return; // the connection broke meanwhile: the next one tells the network again
    current.isShown = false;
    this.#hasAskedToJoin = true;
    this.#do(current, now, () => current.session.proceed(now));
  }

  /** Rejects the network of the event `invitation`: ends. @param cause its message says why */
  refuse(cause: Error, now: number): void {
    const current = this.#current;
    const failure = new HubFailure('unwanted', cause.message, { cause });
    if (current !== undefined) this.#do(current, now, () => current.session.close(failure));
    else this.#disconnected(failure, 0, now);
  }

  /** Asks the hub. The event `answered` calls `resolve` or `reject`. */
  request<R extends HubRequest>(
    request: R,
    now: number,
    resolve: (answer: Answers[R['type']]) => void,
    reject: (failure: HubFailure) => void,
  ): void {
    const answer = (deliver: () => void): void => this.#outputs.push({ kind: 'answered', deliver });
    const fail = (failure: HubFailure): void => answer(() => reject(failure));
    const current = this.#current;
    if (!current?.session.isAttached) fail(this.#notConnected());
    else
      this.#do(current, now, () =>
        current.session.request(request, now, (value) => answer(() => resolve(value)), fail),
      );
  }

  /** The connection that carries frames; undefined while this node is not attached. */
  get frameConnection(): number | undefined {
    return this.#current?.session.isAttached ? this.#current.id : undefined;
  }

  /** Seals a datagram for a member. It must then be sent. @returns undefined while this node is not attached */
  sealFrame(peer: NodeId, datagram: Uint8Array): Uint8Array | undefined {
    return this.#current?.session.sealFrame(peer, datagram);
  }

  // What happens to connections.

  /** @param found the addresses of the host, or why there are none */
  handleResolved(host: string, found: readonly string[] | HubFailure, now: number): void {
    this.#search?.handleResolved(host, found);
    this.#continueSearch(now);
  }

  /** TCP, or TLS, is established. */
  handleConnected(connection: number, remote: Endpoint, local: Endpoint, now: number): void {
    const attempt = this.#attempts.get(connection);
    if (attempt === undefined) return;
    Object.assign(attempt, { deadline: now + OPENING, remote, local });
    this.#search?.answered(now);
  }

  /** The WebSocket is open. */
  handleOpened(connection: number, now: number): void {
    this.#do(this.#attempts.get(connection), now, (attempt) => {
      attempt.deadline = Infinity;
      attempt.session.start(now);
    });
  }

  /** @param bytes one whole message; they are overwritten */
  handleMessage(connection: number, bytes: Uint8Array, now: number): void {
    this.#do(this.#attempts.get(connection), now, ({ session }) => session.handle(bytes, now));
  }

  handlePong(connection: number): void {
    this.#attempts.get(connection)?.session.handlePong();
  }

  /** The WebSocket could not be opened, or received something other than a message. */
  handleFailed(connection: number, failure: HubFailure, now: number): void {
    this.#do(this.#attempts.get(connection), now, ({ session }) => session.close(failure));
  }

  /** The open WebSocket was closed. @param code RFC 6455 §7.4 */
  handleClosed(connection: number, code: number, now: number): void {
    this.#do(this.#attempts.get(connection), now, (attempt) =>
      attempt.session.close(closeFailure(describe(attempt.target), code, attempt === this.#current)),
    );
  }

  /** Acts on a connection, if it is still known, and carries out what its session wants then. */
  #do(attempt: Attempt | undefined, now: number, act: (attempt: Attempt) => void): void {
    if (attempt === undefined) return;
    act(attempt);
    this.#now = now;
    const { session } = attempt;
    for (let output = session.poll(); output; output = session.poll()) this.#perform(output, attempt, now);
  }

  #notConnected(): HubFailure {
    const { failure } = this.#state as { failure?: HubFailure };
    const why = failure === undefined ? '' : `: ${failure.message}`;
    const refusal = failure?.refusal;
    return new HubFailure('unreachable', `not connected to the hub${why}`, refusal && { refusal });
  }

  #connect(now: number): void {
    this.#retryAt = Infinity;
    this.#patience.begin(now);
    this.#state = { kind: 'connecting' };
    this.#search = new HubSearch(this.#preferred, this.#addresses);
    for (const host of this.#search.hosts()) this.#outputs.push({ kind: 'resolve', host });
    this.#continueSearch(now);
  }

  /** Dials what is due, and gives up when no address is left. */
  #continueSearch(now: number): void {
    const search = this.#search;
    for (let target = search?.next(now); target !== undefined; target = search?.next(now))
      this.#dial(target, now);
    if (search?.failure !== undefined) this.#disconnected(search.failure, 0, now);
  }

  /** The network has changed: restarts the search, unless the present one should go on for a while. */
  #searchAnew(now: number): void {
    this.#anewAt = Infinity;
    if (this.#current !== undefined || this.#state.kind === 'ended') return;
    const rest = this.#patience.rest(now);
    if (this.#state.kind === 'connecting' && rest > 0) {
      this.#anewAt = now + rest;
      return;
    }
    this.#patience.abandon();
    this.#restartSearch(now);
  }

  #restartSearch(now: number): void {
    this.#backoff.reset();
    this.#abandonAll();
    this.#connect(now);
  }

  #dial(target: Target, now: number): void {
    const id = ++this.#turn;
    const as = { run: this.#run, turn: id };
    const session = new HubSession({ ...this.#options, member: this.#member, as });
    this.#attempts.set(id, { id, target, session, deadline: now + CONNECTING });
    this.#outputs.push({ kind: 'dial', connection: id, target });
  }

  #perform(output: SessionOutput, attempt: Attempt, now: number): void {
    const { id: connection, target } = attempt;
    switch (output.kind) {
      case 'send':
      case 'ping':
        this.#outputs.push({ ...output, connection });
        return;
      case 'open':
        this.#use(attempt, now);
        return;
      case 'joined':
        this.#member = { network: output.network.id };
        break;
      case 'invitation':
        attempt.isShown = true;
        break;
      case 'attached': {
        const { remote } = attempt;
        if (remote === undefined) return; // `handleConnected` comes first
        attempt.attachedAt = now;
        this.#state = { kind: 'connected' };
        const where = describe(target);
        this.#outputs.push({ ...output, kind: 'connected', where, by: target.address, remote });
        return;
      }
      case 'ended':
        this.#attempts.delete(connection);
        if (attempt === this.#current) this.#lost(output.failure, attempt, now);
        else {
          this.#outputs.push({ kind: 'abort', connection });
          this.#search?.failed(output.failure);
          this.#continueSearch(now);
        }
        return;
    }
    this.#outputs.push(output);
  }

  /** Uses this connection and drops the others. */
  #use(attempt: Attempt, now: number): void {
    this.#search = undefined;
    this.#patience.reset();
    this.#current = attempt;
    this.#preferred = attempt.target;
    this.#attempts.delete(attempt.id);
    this.#abandonAll();
    this.#attempts.set(attempt.id, attempt);
    this.#do(attempt, now, ({ session }) => session.begin(now));
  }

  /** Drops all connections but the one in use. */
  #abandonAll(): void {
    for (const { id, session } of this.#attempts.values()) {
      this.#outputs.push({ kind: 'abort', connection: id });
      session.close(new HubFailure('closed', 'the client uses another connection'));
    }
    this.#attempts.clear();
  }

  #lost(failure: HubFailure, { id, attachedAt }: Attempt, now: number): void {
    if (failure.kind === 'lost') this.#outputs.push({ kind: 'abort', connection: id });
    else this.#hangUp(id, failure.kind === 'protocol' ? CLOSE_CODE.protocol : undefined);
    this.#current = undefined;
    this.#disconnected(failure, attachedAt === undefined ? 0 : now - attachedAt, now);
  }

  #hangUp(connection: number, code = 1000): void {
    this.#outputs.push({ kind: 'close', connection, code });
  }

  /** @param lasted how long the node was attached, milliseconds */
  #disconnected(failure: HubFailure, lasted: number, now: number): void {
    this.#now = now;
    this.#search = undefined;
    this.#patience.reset();
    if (!this.#mayRetry(failure, now)) {
      this.#stop(failure);
      this.#outputs.push({ kind: 'disconnected', failure, retryIn: undefined });
      return;
    }
    if (isLasting(failure)) this.#backoff.exhaust();
    const retryIn = failure.refusal === 'twin' ? this.#twins.next() : this.#backoff.next(lasted);
    this.#state = { kind: 'waiting', failure };
    this.#retryAt = now + retryIn;
    this.#outputs.push({ kind: 'disconnected', failure, retryIn });
  }

  /** A member retries until it is removed. A joining machine fails, unless the trouble may be over in a moment. */
  #mayRetry({ kind, refusal }: HubFailure, now: number): boolean {
    if ('network' in this.#member) return kind !== 'removed' && kind !== 'unwanted';
    if (now - this.#startedAt > JOIN_PATIENCE) return false;
    if (refusal === 'unavailable' || refusal === 'too-many') return true;
    return kind === 'lost' || (this.#hasAskedToJoin && kind === 'unreachable');
  }

  #stop(failure: HubFailure): void {
    if (this.#state.kind === 'ended') return;
    this.#state = { kind: 'ended', failure };
    this.#search = undefined;
    this.#retryAt = this.#anewAt = Infinity;
    const current = this.#current;
    this.#current = undefined;
    if (current !== undefined) {
      this.#attempts.delete(current.id);
      current.session.close(failure);
      this.#hangUp(current.id);
    }
    this.#abandonAll();
  }
}

/** What a retry in a moment cannot change. */
const LASTING: ReadonlySet<string> = new Set(['other-hub', 'other-network', 'version', 'protocol']);
const isLasting = ({ kind, refusal }: HubFailure): boolean => LASTING.has(kind) || refusal === 'not-a-member';

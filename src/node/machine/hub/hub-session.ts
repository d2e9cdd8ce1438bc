import { LametunError } from '../../../errors.js';
import { ChannelInitiator } from '../../../protocol/channel.js';
import type { MapChange, MapKeeper } from '../../../protocol/map.js';
import {
  type Answers,
  type HubMessage,
  type Incarnation,
  type MapVersion,
  type Membership,
  type NetworkInfo,
  type NodeRequest,
  PROTOCOL_VERSIONS,
  type Refusal,
} from '../../../protocol/messages.js';
import type { NodeId, RequestId } from '../../../protocol/node-id.js';
import { parseAdminAnswer, parseAnswer, parseHubMessage } from '../../../protocol/parse.js';
import { encodeBase64 } from '../../../protocol/text.js';
import type { HubAddress } from '../../../protocol/token.js';
import type { Crypto, PrivateKey } from '../../../wireguard/crypto.js';
import { EventQueue } from '../../../wireguard/event-queue.js';
import { channelFailure, HubFailure } from './hub-failure.js';

/** What whoever joins gives and wants. */
export interface JoinRequest {
  /** 16 bytes, of the token. */
  readonly secret: Uint8Array;
  /** A DNS label; the hub may append a number. */
  readonly name: string;
  /** Networks to offer. */
  readonly shares: readonly string[];
}

/** What a caller may ask the hub. The session adds which node attaches, and the map version that it has. */
export type HubRequest = Exclude<NodeRequest, { type: 'attach' }> | { readonly type: 'attach' };

export type SessionOutput =
  /** To be sent, in this order. */
  | { readonly kind: 'send'; readonly bytes: Uint8Array }
  /** A WebSocket ping is to be sent. */
  | { readonly kind: 'ping' }
  /** The channel stands: the hub has the key that it should have. `begin` goes on. */
  | { readonly kind: 'open' }
  /** Before joining: is this network one that the caller can be in? `proceed` goes on. */
  | { readonly kind: 'invitation'; readonly network: NetworkInfo }
  /** This node is a member now, and must be kept as one. Once, and only for a machine that joins. */
  | { readonly kind: 'joined'; readonly network: NetworkInfo; readonly you: Membership }
  | ({ readonly kind: 'attached' } & Answers['attach'])
  /** The map (`options.map`) has changed already. */
  | { readonly kind: 'map'; readonly change: MapChange }
  /** This node's own name, rights, shares or addresses. */
  | { readonly kind: 'you'; readonly you: Membership }
  /** Where the hub is from now on. */
  | { readonly kind: 'addresses'; readonly addresses: readonly HubAddress[] }
  /** Another machine tried to connect with this node's key. */
  | { readonly kind: 'twin'; readonly address: string }
  | { readonly kind: 'presence'; readonly presence: Extract<HubMessage, { type: 'presence' }> }
  /** Lies in the memory of what was handled. */
  | { readonly kind: 'frame'; readonly peer: NodeId; readonly datagram: Uint8Array }
  /** The connection is to be closed. Nothing comes after this, and every question was answered. */
  | { readonly kind: 'ended'; readonly failure: HubFailure };

/** Milliseconds. */
export const SESSION = {
  /** From our first message to the hub's. A hub to which thousands come back at once is slow. */
  channel: 30_000,
  /** For an answer. */
  answer: 30_000,
  pingInterval: 15_000,
  /** For anything to be heard after a ping. */
  pong: 15_000,
  /** The same when there is reason to think that the connection is dead: no way is so slow, and to connect is cheap. */
  probe: 1_500,
  /** Who comes to look as late as this was stopped himself, and the answer may lie there unread. */
  late: 2_000,
  /** A second map that is asked for within this time is one too many. */
  resync: 10_000,
} as const;
/** Questions under way at most. */
const MAX_PENDING = 256;

interface Pending {
  readonly request: NodeRequest;
  readonly deadline: number;
  readonly resolve: (answer: never, now: number) => void;
  readonly reject: (failure: HubFailure) => void;
}

export interface SessionOptions {
  readonly crypto: Crypto;
  readonly privateKey: PrivateKey;
  /** 32 bytes. */
  readonly hubKey: Uint8Array;
  /** `lametun 0.1.0` */
  readonly program: string;
  readonly map: MapKeeper;
  readonly as: Incarnation;
  readonly member: MembershipRequest;
}

/** A member names the id of its network, and accepts no other. A joining machine accepts the network of its token. */
export type MembershipRequest = { readonly network: string } | { readonly join: JoinRequest };

/**
 * One connection to the hub, from the opened WebSocket to its end. Sans-I/O.
 *
 * Contract. After every call take all of `poll()`, and call `handleTimeout` when `nextTimeout()` comes. `now` is in
 * milliseconds, of a clock that never goes back.
 */
export class HubSession {
  readonly #options: SessionOptions;
  readonly #channel: ChannelInitiator;
  readonly #pending = new Map<RequestId, Pending>();
  readonly #outputs = new EventQueue<SessionOutput>();
  #nextId = 1;
  #state: 'channel' | 'open' | 'attached' | 'ended' = 'channel';
  /** For the hub's first message. */
  #deadline = Infinity;
  #nextPing = Infinity;
  #pongDeadline = Infinity;
  #resyncedAt = -Infinity;
  #isResyncing = false;
  /** The id of this node's network. Messages about another network are ignored or end the session. */
  #network: string | undefined;

  constructor(options: SessionOptions) {
    this.#options = options;
    if ('network' in options.member) this.#network = options.member.network;
    const hubKey = options.crypto.publicKey(options.hubKey);
    this.#channel = new ChannelInitiator(options.crypto, options.privateKey, hubKey, {
      protocol: PROTOCOL_VERSIONS,
      program: options.program,
    });
  }

  get isAttached(): boolean {
    return this.#state === 'attached';
  }

  poll(): SessionOutput | undefined {
    return this.#outputs.poll();
  }

  nextTimeout(): number {
    let next = Math.min(this.#deadline, this.#nextPing, this.#pongDeadline);
    for (const { deadline } of this.#pending.values()) next = Math.min(next, deadline);
    return next;
  }

  handleTimeout(now: number): void {
    if (now >= this.#deadline)
      this.close(new HubFailure('unreachable', 'what is there does not answer as a hub does'));
    if (now >= this.#pongDeadline + SESSION.late) this.#pongDeadline = now + SESSION.late;
    else if (now >= this.#pongDeadline) this.close(new HubFailure('lost', 'the hub has fallen silent'));
    for (const [id, { deadline, reject }] of this.#pending) {
      if (now < deadline) continue;
      this.#pending.delete(id);
      reject(new HubFailure('unreachable', 'the hub did not answer in time'));
    }
    if (now >= this.#nextPing) this.#ping(now, SESSION.pong);
  }

  /** The WebSocket is open. */
  start(now: number): void {
    this.#deadline = now + SESSION.channel;
    this.#outputs.push({ kind: 'send', bytes: this.#channel.first() });
  }

  /** The caller uses this connection: checks the invitation, or attaches. */
  begin(now: number): void {
    const { member, map } = this.#options;
    if ('network' in member) this.#attach(map.version, now);
    else {
      const secret = encodeBase64(member.join.secret);
      this.#request({ type: 'check-invitation', secret }, now, ({ network }) =>
        this.#outputs.push({ kind: 'invitation', network }),
      );
    }
  }

  /** The caller accepts the network of the invitation. */
  proceed(now: number): void {
    const { member, map } = this.#options;
    if ('network' in member) return;
    const { secret, name, shares } = member.join;
    const request = { type: 'join', secret: encodeBase64(secret), name, shares } as const;
    this.#request(request, now, ({ network, you }, later) => {
      this.#network = network.id;
      this.#outputs.push({ kind: 'joined', network, you });
      this.#attach(map.version, later);
    });
  }

  /** @param bytes one whole message; they are overwritten */
  handle(bytes: Uint8Array, now: number): void {
    this.handlePong();
    for (const event of this.#channel.handle(bytes)) {
      if (event.kind === 'open') this.#opened(now);
      else if (event.kind === 'message') this.#parse(event.value, now);
      else if (event.kind === 'failed') this.close(channelFailure(event.why, event.text));
      else if (this.isAttached) this.#outputs.push(event);
    }
  }

  handlePong(): void {
    this.#pongDeadline = Infinity;
  }

  /** The connection may be dead: gives it a short time to show that it is not. */
  probe(now: number): void {
    const isOpen = this.#state === 'open' || this.#state === 'attached';
    if (isOpen && this.#pongDeadline > now + SESSION.probe) this.#ping(now, SESSION.probe);
  }

  /** @param reject called when the hub refuses or does not answer, or the connection ends */
  request<R extends HubRequest>(
    request: R,
    now: number,
    resolve: (answer: Answers[R['type']]) => void,
    reject: (failure: HubFailure) => void,
  ): void {
    const whole = request.type === 'attach' ? this.#attachment(this.#options.map.version) : request;
    this.#request(whole as NodeRequest & { readonly type: R['type'] }, now, resolve, reject);
  }

  /** @returns the message to send; undefined when the node is not attached */
  sealFrame(peer: NodeId, datagram: Uint8Array): Uint8Array | undefined {
    return this.isAttached ? this.#channel.sealFrame(peer, datagram) : undefined;
  }

  /** The connection has ended, or is to end. */
  close(failure: HubFailure): void {
    if (this.#state === 'ended') return;
    this.#state = 'ended';
    this.#deadline = this.#nextPing = this.#pongDeadline = Infinity;
    this.#channel.close();
    for (const { reject } of this.#pending.values()) reject(failure);
    this.#pending.clear();
    this.#outputs.push({ kind: 'ended', failure });
  }

  #opened(now: number): void {
    this.#state = 'open';
    this.#deadline = Infinity;
    this.#nextPing = now + SESSION.pingInterval;
    this.#outputs.push({ kind: 'open' });
  }

  #ping(now: number, patience: number): void {
    this.#outputs.push({ kind: 'ping' });
    this.#nextPing = now + SESSION.pingInterval;
    this.#pongDeadline = now + patience;
  }

  #attachment(have: MapVersion | undefined): Extract<NodeRequest, { type: 'attach' }> {
    return { type: 'attach', network: this.#network!, as: this.#options.as, ...(have && { have }) };
  }

  #attach(have: MapVersion | undefined, now: number): void {
    this.#request(this.#attachment(have), now, (answer) => {
      if (answer.network.id !== this.#network) {
        this.close(otherNetwork(`it calls itself ${answer.network.name}`));
        return;
      }
      this.#isResyncing = false;
      this.#state = 'attached';
      this.#outputs.push({ kind: 'attached', ...answer });
    });
  }

  /** @param reject by default a failure ends the session */
  #request<R extends NodeRequest>(
    request: R,
    now: number,
    resolve: (answer: Answers[R['type']], now: number) => void,
    reject: (failure: HubFailure) => void = (failure) => this.close(failure),
  ): void {
    if (this.#state === 'ended' || this.#state === 'channel') {
      reject(new HubFailure('unreachable', 'there is no connection to the hub'));
      return;
    }
    if (this.#pending.size >= MAX_PENDING) {
      reject(new HubFailure('refused', 'too many questions wait for the hub', { refusal: 'too-many' }));
      return;
    }
    const id = this.#nextId++;
    this.#pending.set(id, { request, deadline: now + SESSION.answer, resolve, reject });
    for (const bytes of this.#channel.seal({ ...request, id })) this.#outputs.push({ kind: 'send', bytes });
  }

  #parse(value: unknown, now: number): void {
    if (this.#state === 'ended') return;
    try {
      this.#message(parseHubMessage(value), now);
    } catch (error) {
      if (!(error instanceof LametunError) || error.code !== 'protocol') throw error; // a bug of this program
      this.close(nonsense(error));
    }
  }

  #message(message: HubMessage, now: number): void {
    if (!this.isAttached && !EARLY.has(message.type)) throw TOO_EARLY;
    switch (message.type) {
      case 'answer': {
        const pending = this.#take(message.re);
        if (pending === undefined) return; // it was given up
        try {
          pending.resolve(parseAnswerTo(pending.request, message.value) as never, now);
        } catch (error) {
          pending.reject(nonsense(error));
          throw error;
        }
        return;
      }
      case 'refused':
        this.#take(message.re)?.reject(refused(message.code, message.message));
        return;
      case 'removed':
        this.close(
          message.network === this.#network
            ? new HubFailure('removed', 'this node was removed from the network')
            : otherNetwork('it has removed this node'),
        );
        return;
      case 'map':
        this.#isResyncing = false;
        this.#outputs.push({ kind: 'map', change: this.#options.map.applyMap(message) });
        return;
      case 'delta': {
        if (this.#isResyncing) return;
        const change = this.#options.map.applyDelta(message);
        if (change === 'resync') this.#resync(now);
        else this.#outputs.push({ kind: 'map', change });
        return;
      }
      case 'you':
        this.#outputs.push({ kind: 'you', you: message.you });
        return;
      case 'addresses':
        this.#outputs.push({ kind: 'addresses', addresses: message.addresses });
        return;
      case 'presence':
        this.#outputs.push({ kind: 'presence', presence: message });
        return;
      case 'twin':
        this.#outputs.push({ kind: 'twin', address: message.address });
    }
  }

  /** A delta does not fit the map of this node: asks for the whole map. */
  #resync(now: number): void {
    if (now - this.#resyncedAt < SESSION.resync) {
      this.close(new HubFailure('protocol', "the hub's changes do not fit its own map"));
      return;
    }
    this.#resyncedAt = now;
    this.#attach(undefined, now);
    this.#isResyncing = true;
  }

  #take(id: RequestId): Pending | undefined {
    const pending = this.#pending.get(id);
    this.#pending.delete(id);
    return pending;
  }
}

/** @throws LametunError `protocol` */
const parseAnswerTo = (request: NodeRequest, value: unknown): unknown =>
  request.type === 'admin' ? parseAdminAnswer(request.request.op, value) : parseAnswer(request.type, value);

/** Of all that a hub refuses, nothing says that this node is no member any more: only `removed` does. */
const refused = (code: Refusal, message: string): HubFailure =>
  code === 'other-network' ? otherNetwork() : new HubFailure('refused', message, { refusal: code });

const otherNetwork = (detail?: string): HubFailure =>
  new HubFailure(
    'other-network',
    `another network is behind this hub's key${detail === undefined ? '' : ` (${detail})`}: this node stays a member of its own, and goes on trying; the hub needs the right database, or its backup restored`,
  );

/** What a hub says before this node is attached. */
const EARLY: ReadonlySet<HubMessage['type']> = new Set(['answer', 'refused', 'removed']);
const TOO_EARLY = new LametunError('protocol', 'it came before this node was attached');

const nonsense = (error: unknown): HubFailure =>
  new HubFailure('protocol', `the hub said what it should not: ${(error as Error).message}`);

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

/** What a joining machine offers and asks for. */
export interface JoinRequest {
  /** 16 bytes, of the token. */
  readonly secret: Uint8Array;
  /** A DNS label. The hub may append a number. */
  readonly name: string;
  /** The networks that it offers. */
  readonly shares: readonly string[];
}

/** What a caller may ask the hub. The session adds which node attaches, and the map version that it has. */
export type HubRequest = Exclude<NodeRequest, { type: 'attach' }> | { readonly type: 'attach' };

export type SessionOutput =
  /** Send these, in this order. */
  | { readonly kind: 'send'; readonly bytes: Uint8Array }
  /** Send a WebSocket ping. */
  | { readonly kind: 'ping' }
  /** The channel is open: the hub has the right key. Continue with `begin`. */
  | { readonly kind: 'open' }
  /** Before joining: the network of the invitation. Continue with `proceed` if the caller accepts it. */
  | { readonly kind: 'invitation'; readonly network: NetworkInfo }
  /** This machine is a member now: store that. Once, and only when joining. */
  | { readonly kind: 'joined'; readonly network: NetworkInfo; readonly you: Membership }
  | ({ readonly kind: 'attached' } & Answers['attach'])
  /** The map (`options.map`) has changed. */
  | { readonly kind: 'map'; readonly change: MapChange }
  /** This node's own name, rights, shares or addresses have changed. */
  | { readonly kind: 'you'; readonly you: Membership }
  /** The hub's addresses have changed. */
  | { readonly kind: 'addresses'; readonly addresses: readonly HubAddress[] }
  /** Another machine tried to connect with this node's key. */
  | { readonly kind: 'twin'; readonly address: string }
  | { readonly kind: 'presence'; readonly presence: Extract<HubMessage, { type: 'presence' }> }
  /** The datagram lies in the memory of the handled message. */
  | { readonly kind: 'frame'; readonly peer: NodeId; readonly datagram: Uint8Array }
  /** Close the connection. This is the last output, and no request is pending. */
  | { readonly kind: 'ended'; readonly failure: HubFailure };

/** Milliseconds. */
export const SESSION = {
  /** From the first message of this node to the hub's. A hub is slow when thousands reconnect at once. */
  channel: 30_000,
  /** For the answer to a request. */
  answer: 30_000,
  pingInterval: 15_000,
  /** After a ping, for anything that is received. */
  pong: 15_000,
  /** The same when the connection may be dead: no path is slower, and reconnecting is cheap. */
  probe: 1_500,
  /** A timeout handled this late means that this process was suspended, and the answer may still be unread. */
  late: 2_000,
  /** The shortest time between two requests for the whole map. */
  resync: 10_000,
} as const;
/** The most pending requests. */
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
  /** Default: `PROTOCOL_VERSIONS`. */
  readonly speaks?: readonly number[] | undefined;
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
      protocol: options.speaks ?? PROTOCOL_VERSIONS,
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
      this.close(new HubFailure('unreachable', 'no lametun hub answered at this address'));
    if (now >= this.#pongDeadline + SESSION.late) this.#pongDeadline = now + SESSION.late;
    else if (now >= this.#pongDeadline) this.close(new HubFailure('lost', 'the hub stopped answering'));
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
        this.close(otherNetwork(`it is called ${answer.network.name}`));
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
      reject(new HubFailure('unreachable', 'not connected to the hub'));
      return;
    }
    if (this.#pending.size >= MAX_PENDING) {
      reject(new HubFailure('refused', 'too many requests are waiting for the hub', { refusal: 'too-many' }));
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
            : otherNetwork('it removed this node'),
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
      this.close(new HubFailure('protocol', "the hub's changes do not fit the map that it sent"));
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

/** No refusal ends a membership: only the message `removed` does. */
const refused = (code: Refusal, message: string): HubFailure =>
  code === 'other-network' ? otherNetwork() : new HubFailure('refused', message, { refusal: code });

const otherNetwork = (detail?: string): HubFailure =>
  new HubFailure(
    'other-network',
    `this hub serves another network${detail === undefined ? '' : ` (${detail})`}: this node keeps its membership and keeps trying; run the hub with the right database, or restore its backup`,
  );

/** What a hub may send before this node is attached. */
const EARLY: ReadonlySet<HubMessage['type']> = new Set(['answer', 'refused', 'removed']);
const TOO_EARLY = new LametunError('protocol', 'it came before this node was attached');

const nonsense = (error: unknown): HubFailure =>
  new HubFailure('protocol', `the hub sent an invalid message: ${(error as Error).message}`);

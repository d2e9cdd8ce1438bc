import { LametunError } from '../../../errors.js';
import { ChannelInitiator } from '../../../protocol/channel.js';
import type { MapChange, MapKeeper } from '../../../protocol/map.js';
import {
  type AdminAnswers,
  type AdminRequest,
  type Answers,
  type HubMessage,
  type Incarnation,
  type MapVersion,
  type Membership,
  type NetworkInfo,
  PROTOCOL_VERSIONS,
  type Refusal,
  type RelayCredentials,
} from '../../../protocol/messages.js';
import type { NodeId, RequestId } from '../../../protocol/node-id.js';
import { parseAdminAnswer, parseAnswer, parseHubMessage } from '../../../protocol/parse.js';
import { encodeBase64 } from '../../../protocol/text.js';
import type { HubAddress } from '../../../protocol/token.js';
import type { Crypto, PrivateKey } from '../../../wireguard/crypto.js';
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

/** What a node asks of the hub, by type; `attach` and `admin` have methods of their own. */
export interface Questions {
  readonly 'check-invitation': { readonly secret: string };
  readonly join: { readonly secret: string; readonly name: string; readonly shares: readonly string[] };
  readonly attach: {
    readonly network: string;
    readonly as: Incarnation;
    readonly have?: MapVersion | undefined;
  };
  readonly share: { readonly shares: readonly string[] };
  readonly 'host-info': { readonly ipv6: boolean };
  readonly leave: Record<never, never>;
  readonly who: Record<never, never>;
}
export type QuestionType = keyof Questions;

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
  | {
      readonly kind: 'attached';
      readonly network: NetworkInfo;
      readonly you: Membership;
      readonly relay: RelayCredentials;
      readonly addresses: readonly HubAddress[];
    }
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
  readonly deadline: number;
  /** Checks the answer, and throws when it is none. */
  readonly parse: (value: unknown) => unknown;
  readonly resolve: (value: never, now: number) => void;
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
  /** Whose member this is, or wants to become. */
  readonly member: MembershipRequest;
}

/** A member knows its network by its id, and believes no other one. Whoever joins takes what the token leads to. */
export type MembershipRequest = { readonly network: string } | { readonly join: JoinRequest };

/**
 * One connection to the hub, from the WebSocket's opening to its end. No I/O and no timers: every method tells what is
 * to be done now, `nextTimeout` when `handleTimeout` wants to be called.
 */
export class HubSession {
  readonly #options: SessionOptions;
  readonly #channel: ChannelInitiator;
  readonly #pending = new Map<RequestId, Pending>();
  #out: SessionOutput[] = [];
  #nextId = 1;
  #state: 'channel' | 'open' | 'attached' | 'ended' = 'channel';
  /** For what is not a question's. */
  #deadline = Infinity;
  #nextPing = Infinity;
  #pongDeadline = Infinity;
  #resyncedAt = -Infinity;
  #isResyncing = false;
  /** The network's id. Nothing that is said in the name of another one counts. */
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

  /** The WebSocket is open. */
  start(now: number): SessionOutput[] {
    this.#deadline = now + SESSION.channel;
    this.#out.push({ kind: 'send', bytes: this.#channel.first() });
    return this.#drain();
  }

  /** Of all connections this is the one to use. Joins, or attaches. */
  begin(now: number): SessionOutput[] {
    const { member, map } = this.#options;
    if ('network' in member) this.#attach(now, member.network, map.version);
    else {
      this.#ask(now, 'check-invitation', { secret: encodeBase64(member.join.secret) }, ({ network }) => {
        this.#out.push({ kind: 'invitation', network });
      });
    }
    return this.#drain();
  }

  /** The invitation's network suits the caller. */
  proceed(now: number): SessionOutput[] {
    const { member, map } = this.#options;
    if ('network' in member) return [];
    const { secret, name, shares } = member.join;
    this.#ask(now, 'join', { secret: encodeBase64(secret), name, shares }, ({ network, you }, later) => {
      this.#network = network.id;
      this.#out.push({ kind: 'joined', network, you });
      this.#attach(later, network.id, map.version);
    });
    return this.#drain();
  }

  /** @param bytes one whole message; they are overwritten */
  handle(bytes: Uint8Array, now: number): SessionOutput[] {
    this.#heard();
    for (const event of this.#channel.handle(bytes)) {
      if (event.kind === 'open') this.#opened(now);
      else if (event.kind === 'message') this.#parse(event.value, now);
      else if (event.kind === 'failed') this.#end(channelFailure(event.why, event.text));
      else if (this.#state === 'attached') this.#out.push(event);
    }
    return this.#drain();
  }

  handlePong(): void {
    this.#heard();
  }

  /** There is reason to think that the connection is dead: it has a short time to show that it is not. */
  probe(now: number): SessionOutput[] {
    const isOpen = this.#state === 'open' || this.#state === 'attached';
    if (isOpen && this.#pongDeadline > now + SESSION.probe) {
      this.#out.push({ kind: 'ping' });
      this.#nextPing = now + SESSION.pingInterval;
      this.#pongDeadline = now + SESSION.probe;
    }
    return this.#drain();
  }

  handleTimeout(now: number): SessionOutput[] {
    if (now >= this.#deadline)
      this.#end(new HubFailure('unreachable', 'what is there does not answer as a hub does'));
    if (now >= this.#pongDeadline + SESSION.late) this.#pongDeadline = now + SESSION.late;
    else if (now >= this.#pongDeadline) this.#end(new HubFailure('lost', 'the hub has fallen silent'));
    for (const [id, { deadline, reject }] of this.#pending) {
      if (now < deadline) continue;
      this.#pending.delete(id);
      reject(new HubFailure('unreachable', 'the hub did not answer in time'));
    }
    if (now >= this.#nextPing && this.#state !== 'ended') {
      this.#out.push({ kind: 'ping' });
      this.#nextPing = now + SESSION.pingInterval;
      this.#pongDeadline = now + SESSION.pong;
    }
    return this.#drain();
  }

  nextTimeout(): number {
    let next = Math.min(this.#deadline, this.#nextPing, this.#pongDeadline);
    for (const { deadline } of this.#pending.values()) next = Math.min(next, deadline);
    return next;
  }

  /** @param reject gets a HubFailure when there is no answer, the hub refuses, or the connection ends */
  request<T extends Exclude<QuestionType, 'attach'>>(
    now: number,
    type: T,
    args: Questions[T],
    resolve: (answer: Answers[T]) => void,
    reject: (failure: HubFailure) => void,
  ): SessionOutput[] {
    this.#ask(now, type, args, resolve, reject);
    return this.#drain();
  }

  /** Asks for other credentials of the relay. */
  attachAgain(
    now: number,
    resolve: (answer: Answers['attach']) => void,
    reject: (failure: HubFailure) => void,
  ): SessionOutput[] {
    const { as, map } = this.#options;
    const have = map.version;
    if (this.#network !== undefined)
      this.#ask(now, 'attach', { network: this.#network, as, ...(have && { have }) }, resolve, reject);
    return this.#drain();
  }

  admin<R extends AdminRequest>(
    now: number,
    request: R,
    resolve: (answer: AdminAnswers[R['op']]) => void,
    reject: (failure: HubFailure) => void,
  ): SessionOutput[] {
    const parse = (value: unknown) => parseAdminAnswer(request.op, value);
    const message = { type: 'admin', request };
    this.#send(now, message, parse, resolve as (value: never) => void, reject);
    return this.#drain();
  }

  /** @returns the message to send; undefined when the node is not attached */
  sealFrame(peer: NodeId, datagram: Uint8Array): Uint8Array | undefined {
    return this.#state === 'attached' ? this.#channel.sealFrame(peer, datagram) : undefined;
  }

  /** The connection has ended, or is to end. */
  close(failure: HubFailure): SessionOutput[] {
    this.#end(failure);
    return this.#drain();
  }

  #opened(now: number): void {
    this.#state = 'open';
    this.#deadline = Infinity;
    this.#nextPing = now + SESSION.pingInterval;
    this.#out.push({ kind: 'open' });
  }

  #heard(): void {
    this.#pongDeadline = Infinity;
  }

  #attach(now: number, network: string, have: MapVersion | undefined): void {
    const { as } = this.#options;
    this.#ask(now, 'attach', { network, as, ...(have && { have }) }, (answer) => {
      if (answer.network.id !== network) {
        this.#end(otherNetwork(`it calls itself ${answer.network.name}`));
        return;
      }
      this.#isResyncing = false;
      this.#state = 'attached'; // again, when all of the map was asked for: the relay's credentials are new
      this.#out.push({ kind: 'attached', ...answer });
    });
  }

  /** A question without which the session is of no use, unless there is a `reject`. */
  #ask<T extends QuestionType>(
    now: number,
    type: T,
    args: Questions[T],
    resolve: (answer: Answers[T], now: number) => void,
    reject: (failure: HubFailure) => void = (failure) => this.#end(failure),
  ): void {
    const parse = (value: unknown) => parseAnswer(type, value);
    const message = { type, ...args };
    this.#send(now, message, parse, resolve as (value: never, now: number) => void, reject);
  }

  #send(
    now: number,
    message: object,
    parse: (value: unknown) => unknown,
    resolve: (value: never, now: number) => void,
    reject: (failure: HubFailure) => void,
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
    this.#pending.set(id, { deadline: now + SESSION.answer, parse, resolve, reject });
    for (const bytes of this.#channel.seal({ ...message, id })) this.#out.push({ kind: 'send', bytes });
  }

  #parse(value: unknown, now: number): void {
    if (this.#state === 'ended') return;
    try {
      this.#message(parseHubMessage(value), now);
    } catch (error) {
      if (!(error instanceof LametunError) || error.code !== 'protocol') throw error; // ours
      this.#end(nonsense(error));
    }
  }

  #message(message: HubMessage, now: number): void {
    if (!this.isAttached && !EARLY.has(message.type)) throw TOO_EARLY;
    switch (message.type) {
      case 'answer': {
        const pending = this.#take(message.re);
        if (pending === undefined) return; // it was given up
        try {
          pending.resolve(pending.parse(message.value) as never, now);
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
        this.#end(
          message.network === this.#network
            ? new HubFailure('removed', 'this node was removed from the network')
            : otherNetwork('it has removed this node'),
        );
        return;
      case 'map':
        this.#isResyncing = false;
        this.#out.push({ kind: 'map', change: this.#options.map.applyMap(message) });
        return;
      case 'delta': {
        if (this.#isResyncing) return;
        const change = this.#options.map.applyDelta(message);
        if (change === 'resync') this.#resync(now);
        else this.#out.push({ kind: 'map', change });
        return;
      }
      case 'you':
        this.#out.push({ kind: 'you', you: message.you });
        return;
      case 'addresses':
        this.#out.push({ kind: 'addresses', addresses: message.addresses });
        return;
      case 'presence':
        this.#out.push({ kind: 'presence', presence: message });
        return;
      case 'twin':
        this.#out.push({ kind: 'twin', address: message.address });
    }
  }

  /** The hub counts from a map that is not ours: all of it is asked for. */
  #resync(now: number): void {
    if (now - this.#resyncedAt < SESSION.resync) {
      this.#end(new HubFailure('protocol', "the hub's changes do not fit its own map"));
      return;
    }
    this.#resyncedAt = now;
    if (this.#network !== undefined) this.#attach(now, this.#network, undefined);
    this.#isResyncing = true;
  }

  #take(id: RequestId): Pending | undefined {
    const pending = this.#pending.get(id);
    this.#pending.delete(id);
    return pending;
  }

  #end(failure: HubFailure): void {
    if (this.#state === 'ended') return;
    this.#state = 'ended';
    this.#deadline = this.#nextPing = this.#pongDeadline = Infinity;
    this.#channel.close();
    for (const { reject } of this.#pending.values()) reject(failure);
    this.#pending.clear();
    this.#out.push({ kind: 'ended', failure });
  }

  #drain(): SessionOutput[] {
    const out = this.#out;
    this.#out = [];
    return out;
  }
}

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

import { randomBytes } from 'node:crypto';
import { WebSocket } from 'ws';
import { NodeCrypto } from '../../src/crypto/node-crypto.js';
import { CHANNEL_PATH, ChannelInitiator } from '../../src/protocol/channel.js';
import { NetworkMap } from '../../src/protocol/map.js';
import {
  type AdminRequest,
  type Answers,
  type Hello,
  type HubMessage,
  type NodeRequest,
  PROTOCOL_VERSIONS,
  type Refusal,
} from '../../src/protocol/messages.js';
import { parseHubMessage } from '../../src/protocol/parse.js';
import type { PrivateKey } from '../../src/wireguard/crypto.js';
import { until } from './wait.js';

const crypto = new NodeCrypto();
const HELLO: Hello = { protocol: PROTOCOL_VERSIONS, program: 'test' };

/** A hub's port, its key and, if known, its network. */
export interface HubContact {
  readonly network?: { readonly id: string };
  readonly publicKey: Uint8Array;
  readonly port: number;
}

/** One of each request that needs an administrator. */
export const ADMIN_REQUESTS: readonly AdminRequest[] = [
  { op: 'invite', expires: 60, reusable: true, admin: true, shares: [] },
  { op: 'invites' },
  { op: 'revoke', invite: 'a' },
  { op: 'nodes' },
  { op: 'remove', node: 'a' },
  { op: 'approve', node: 'a' },
];

/** The hub refused a request. */
export class TestRefusal extends Error {
  readonly code: Refusal;
  constructor(code: Refusal, message: string) {
    super(`${code}: ${message}`);
    this.code = code;
  }
}

/** A minimal node that records what the hub says, without retries or timers. */
export class TestNode {
  readonly key: PrivateKey;
  readonly map = new NetworkMap();
  readonly messages: HubMessage[] = [];
  readonly frames: { readonly from: number; readonly datagram: Uint8Array }[] = [];
  /** The state of the channel, with the close code once it is closed. */
  state: 'opening' | 'open' | { readonly closed: number } = 'opening';
  failure: string | undefined;
  /** The network's id, from the hub or from the answer to a `join`. */
  network = 'unknown';
  readonly #run = randomBytes(8).toString('hex');
  #turn = 0;
  bytes = 0;
  socket: WebSocket | undefined;
  #channel: ChannelInitiator | undefined;
  #next = 1;
  readonly #waiting = new Map<number, { resolve(value: never): void; reject(error: Error): void }>();

  constructor(key: PrivateKey = crypto.generate()) {
    this.key = key;
  }

  get keyText(): string {
    return Buffer.from(this.key.publicKey.bytes).toString('base64');
  }

  /** @throws Error when the channel does not open */
  async connect(hub: HubContact, hello = HELLO, path = CHANNEL_PATH): Promise<this> {
    const socket = new WebSocket(`ws://127.0.0.1:${hub.port}${path}`, { perMessageDeflate: false });
    const channel = new ChannelInitiator(crypto, this.key, crypto.publicKey(hub.publicKey), hello);
    this.socket = socket;
    if (hub.network !== undefined) this.network = hub.network.id;
    this.#channel = channel;
    this.state = 'opening';
    socket.on('open', () => socket.send(channel.first()));
    socket.on('message', (data: Buffer) => {
      this.bytes += data.length;
      for (const event of channel.handle(data)) {
        if (event.kind === 'open') this.state = 'open';
        else if (event.kind === 'message') this.#message(parseHubMessage(event.value));
        else if (event.kind === 'frame')
          this.frames.push({ from: event.peer, datagram: Uint8Array.from(event.datagram) });
        else {
          this.failure = event.text;
          socket.close();
        }
      }
    });
    socket.on('error', (error) => {
      this.failure ??= error.message;
    });
    socket.on('close', (code) => {
      this.state = { closed: code };
      for (const { reject } of this.#waiting.values()) reject(new Error(`closed with ${code}`));
      this.#waiting.clear();
    });
    await until('the channel to open', () => this.state !== 'opening');
    if (this.state !== ('open' as unknown)) throw new Error(this.failure ?? 'the channel did not open');
    return this;
  }

  /** @throws TestRefusal */
  ask<T extends NodeRequest>(request: T): Promise<Answers[T['type']]> {
    const id = this.#next++;
    return new Promise((resolve, reject) => {
      if (typeof this.state === 'object') reject(new Error(`closed with ${this.state.closed}`));
      this.#waiting.set(id, { resolve: resolve as (value: never) => void, reject });
      this.sendRaw({ ...request, id });
    });
  }

  sendRaw(message: object): void {
    for (const bytes of this.#channel!.seal(message)) this.socket!.send(bytes);
  }

  sendFrame(to: number, datagram: Uint8Array): void {
    this.socket!.send(this.#channel!.sealFrame(to, datagram));
  }

  async join(secret: Uint8Array, name = 'node', shares: string[] = []): Promise<Answers['join']> {
    const base64 = Buffer.from(secret).toString('base64');
    const answer = await this.ask({ type: 'join', secret: base64, name, shares });
    this.network = answer.network.id;
    return answer;
  }

  attach(): Promise<Answers['attach']> {
    const as = { run: this.#run, turn: ++this.#turn };
    return this.ask({ type: 'attach', network: this.network, as, have: this.map.version });
  }

  /** Waits until the map satisfies `check`. */
  mapHas(what: string, check: (map: NetworkMap) => boolean, milliseconds?: number): Promise<unknown> {
    return until(what, () => this.map.version !== undefined && check(this.map), milliseconds);
  }

  async closed(): Promise<number> {
    await until('the connection to close', () => typeof this.state === 'object');
    return (this.state as { closed: number }).closed;
  }

  close(): void {
    this.socket?.terminate();
  }

  #message(message: HubMessage): void {
    this.messages.push(message);
    switch (message.type) {
      case 'answer':
        this.#waiting.get(message.re)?.resolve(message.value as never);
        this.#waiting.delete(message.re);
        break;
      case 'refused':
        this.#waiting.get(message.re)?.reject(new TestRefusal(message.code, message.message));
        this.#waiting.delete(message.re);
        break;
      case 'map':
        this.map.applyMap(message);
        break;
      case 'delta':
        if (this.map.applyDelta(message) === 'resync') throw new Error('the delta does not fit the map');
        break;
    }
  }
}

export const randomSecret = (): Uint8Array => Uint8Array.from(randomBytes(16));

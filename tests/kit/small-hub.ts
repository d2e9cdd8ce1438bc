import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type WebSocket, WebSocketServer } from 'ws';
import { CHANNEL_PATH, ChannelResponder, CLOSE_CODE } from '../../src/protocol/channel.js';
import type {
  Answers,
  HubMessage,
  MapNode,
  NodeMessage,
  Refusal,
  Welcome,
} from '../../src/protocol/messages.js';
import { parseNodeMessage } from '../../src/protocol/parse.js';
import { welcome } from '../../src/protocol/versions.js';
import type { Crypto, PrivateKey } from '../../src/wireguard/crypto.js';

/** A node at a `SmallHub`. */
export interface SmallHubNode {
  readonly key: Uint8Array;
  send(message: HubMessage): void;
  sendFrame(peer: number, datagram: Uint8Array): void;
  /** Breaks the TCP connection. */
  breakOff(): void;
  close(code: number): void;
  /** Stops reading and answering. */
  fallSilent(): void;
}

export const NETWORK = { id: 'n1', name: 'home', ipv4: '10.7.0.0/16', ipv6: 'fd07::/64', mtu: 1280 } as const;
export const member = (id: number): Answers['attach']['you'] => ({
  id,
  name: `node${id}`,
  ipv4: `10.7.0.${id}`,
  ipv6: `fd07::${id.toString(16)}`,
  admin: false,
  pending: false,
  shares: [],
});
export const mapNode = (id: number): MapNode => ({
  id,
  name: `node${id}`,
  key: Buffer.alloc(32, id).toString('base64'),
  ipv4: `10.7.0.${id}`,
  ipv6: `fd07::${id.toString(16)}`,
  shares: [],
});
export const attachedAnswer = (id: number): Answers['attach'] => ({
  network: NETWORK,
  you: member(id),
  relay: { port: 443, session: Buffer.alloc(8).toString('base64'), key: Buffer.alloc(32).toString('base64') },
  addresses: [],
});

/** An answer that refuses the request. */
export class Refused {
  readonly code: Refusal;
  constructor(code: Refusal) {
    this.code = code;
  }
}

/** A hub for tests of clients. It answers what the test wants, valid or not. */
export class SmallHub {
  /** All requests, in order. */
  readonly asked: NodeMessage[] = [];
  readonly frames: { readonly peer: number; readonly datagram: Uint8Array }[] = [];
  readonly nodes = new Set<SmallHubNode>();
  /** The number of connections, including those whose handshake failed. */
  connections = 0;
  /** Returns the answer to a request; undefined for no answer. */
  answer: (question: NodeMessage, node: SmallHubNode) => object | Refused | undefined = (question) =>
    question.type === 'attach' ? attachedAnswer(1) : {};
  /** Receives each frame. The datagram is valid until it returns. */
  onFrame: (peer: number, datagram: Uint8Array, node: SmallHubNode) => void = () => {};
  welcome: (hello: Parameters<typeof welcome>[0]) => Welcome = (hello) => welcome(hello, 'small 1');
  readonly #crypto: Crypto;
  readonly #key: PrivateKey;
  readonly #server: Server = createServer((_, response) => {
    response.writeHead(404).end();
  });
  readonly #sockets = new WebSocketServer({
    server: this.#server,
    path: CHANNEL_PATH,
    perMessageDeflate: false,
  });

  constructor(crypto: Crypto, key: PrivateKey) {
    this.#crypto = crypto;
    this.#key = key;
    this.#sockets.on('connection', (socket) => this.#accept(socket));
  }

  /** @returns the port */
  async listen(port = 0, host = '127.0.0.1'): Promise<number> {
    this.#server.listen(port, host);
    await once(this.#server, 'listening');
    return (this.#server.address() as AddressInfo).port;
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets.clients) socket.terminate();
    this.#sockets.close();
    this.#server.close();
    this.#server.closeAllConnections();
    await once(this.#server, 'close');
  }

  #accept(socket: WebSocket): void {
    this.connections++;
    const channel = new ChannelResponder(this.#crypto, this.#key, (_, hello) => this.welcome(hello));
    let node: SmallHubNode | undefined;
    let isSilent = false;
    socket.on('message', (bytes: Buffer) => {
      if (isSilent) return;
      for (const event of channel.handle(bytes)) {
        if (event.kind === 'send') socket.send(event.bytes);
        else if (event.kind === 'frame') this.#frame(event.peer, event.datagram, node!);
        else if (event.kind === 'failed') socket.close(CLOSE_CODE[event.why]);
        else if (event.kind === 'open') {
          node = {
            key: event.remoteKey,
            send: (message) => {
              for (const sealed of channel.seal(message)) socket.send(sealed);
            },
            sendFrame: (peer, datagram) => socket.send(channel.sealFrame(peer, datagram)),
            breakOff: () => socket.terminate(),
            close: (code) => socket.close(code),
            fallSilent: () => {
              isSilent = true;
              socket.pause();
            },
          };
          this.nodes.add(node);
        } else this.#asked(parseNodeMessage(event.value), node!);
      }
    });
    socket.on('close', () => {
      channel.close();
      if (node !== undefined) this.nodes.delete(node);
    });
    socket.on('error', () => {});
  }

  #frame(peer: number, datagram: Uint8Array, node: SmallHubNode): void {
    this.frames.push({ peer, datagram: datagram.slice() });
    this.onFrame(peer, datagram, node);
  }

  #asked(question: NodeMessage, node: SmallHubNode): void {
    this.asked.push(question);
    const value = this.answer(question, node);
    if (value instanceof Refused)
      node.send({ type: 'refused', re: question.id, code: value.code, message: `refused: ${value.code}` });
    else if (value !== undefined) node.send({ type: 'answer', re: question.id, value });
  }
}

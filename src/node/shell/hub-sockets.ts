import type { NodeId } from '../../protocol/node-id.js';
import type { HubClient } from '../machine/hub/hub-client.js';
import type { HubCommand } from '../machine/hub/hub-events.js';
import type { HubFailure } from '../machine/hub/hub-failure.js';
import { HubSocket, resolveHost } from './hub-socket.js';

export interface HubSocketsOptions {
  readonly client: HubClient;
  /** Of the client's clock. */
  readonly now: () => number;
  /** To be called after everything that the client was told. */
  readonly settle: () => void;
}

/** The WebSockets of a client of the hub, by their numbers. */
export class HubSockets {
  readonly #options: HubSocketsOptions;
  readonly #sockets = new Map<number, HubSocket>();
  /** The latest lookup of each host: what an earlier one finds is of another search, maybe in another network. */
  readonly #lookups = new Map<string, Promise<readonly string[] | HubFailure>>();
  #settle: () => void;

  constructor(options: HubSocketsOptions) {
    this.#options = options;
    this.#settle = options.settle;
  }

  /** Another one looks after the client from now on. */
  handOver(settle: () => void): void {
    this.#settle = settle;
  }

  perform(command: HubCommand): void {
    if (command.kind === 'resolve') void this.#resolve(command.host);
    else if (command.kind === 'dial') this.#dial(command);
    else {
      const socket = this.#sockets.get(command.connection);
      if (command.kind === 'send') socket?.send(command.bytes);
      else if (command.kind === 'ping') socket?.ping();
      else {
        this.#sockets.delete(command.connection);
        if (command.kind === 'close') socket?.close(command.code);
        else socket?.abandon();
      }
    }
  }

  /** Sends a datagram through the hub to a member. @returns false when it was dropped: no connection, or too much waits */
  sendFrame(peer: NodeId, datagram: Uint8Array): boolean {
    const { client } = this.#options;
    const connection = client.frameConnection;
    const socket = connection === undefined ? undefined : this.#sockets.get(connection);
    if (socket === undefined || socket.isBusy) return false; // before it is sealed: what is sealed must be sent
    const bytes = client.sealFrame(peer, datagram);
    return bytes !== undefined && socket.sendFrame(bytes);
  }

  #dial({ connection, target }: Extract<HubCommand, { kind: 'dial' }>): void {
    const { client, now } = this.#options;
    const then = <A extends unknown[]>(act: (...args: A) => void) => {
      return (...args: A): void => {
        act(...args);
        this.#settle();
      };
    };
    const socket = new HubSocket(target, {
      connected: then((remote, local) => client.handleConnected(connection, remote, local, now())),
      opened: then(() => client.handleOpened(connection, now())),
      message: then((bytes) => client.handleMessage(connection, bytes, now())),
      pong: then(() => client.handlePong(connection)),
      failed: then((failure) => client.handleFailed(connection, failure, now())),
      closed: then((code) => client.handleClosed(connection, code, now())),
    });
    this.#sockets.set(connection, socket);
  }

  async #resolve(host: string): Promise<void> {
    const lookup = resolveHost(host).catch((error: HubFailure) => error);
    this.#lookups.set(host, lookup);
    const found = await lookup;
    if (this.#lookups.get(host) !== lookup) return;
    this.#lookups.delete(host);
    this.#options.client.handleResolved(host, found, this.#options.now());
    this.#settle();
  }
}

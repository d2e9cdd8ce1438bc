import { bootTime } from '../../linux/process/clock.js';
import type { NodeId } from '../../protocol/node-id.js';
import type { HubClient } from '../machine/hub/hub-client.js';
import type { HubCommand } from '../machine/hub/hub-events.js';
import type { HubFailure } from '../machine/hub/hub-failure.js';
import { HubSocket, resolveHost } from './hub-socket.js';

/** The WebSockets of a hub client, by connection number. */
export class HubSockets {
  /** Called after everything that the client is told. */
  settle: () => void;
  readonly #client: HubClient;
  readonly #sockets = new Map<number, HubSocket>();
  /** The latest lookup of each host. Earlier ones are ignored: they may have been made in another network. */
  readonly #lookups = new Map<string, Promise<readonly string[] | HubFailure>>();

  constructor(client: HubClient, settle: () => void) {
    this.#client = client;
    this.settle = settle;
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

  /**
   * Sends a datagram through the hub to a member.
   *
   * @returns false when it was dropped: there is no connection, or its send queue is full
   */
  sendFrame(peer: NodeId, datagram: Uint8Array): boolean {
    const connection = this.#client.frameConnection;
    const socket = connection === undefined ? undefined : this.#sockets.get(connection);
    if (socket === undefined || socket.isBusy) return false; // checked before sealing: a sealed frame must be sent
    const bytes = this.#client.sealFrame(peer, datagram);
    return bytes !== undefined && socket.sendFrame(bytes);
  }

  #dial({ connection, target }: Extract<HubCommand, { kind: 'dial' }>): void {
    const client = this.#client;
    const thenSettle = <A extends unknown[]>(tell: (...args: A) => void) => {
      return (...args: A): void => {
        tell(...args);
        this.settle();
      };
    };
    const socket = new HubSocket(target, {
      connected: thenSettle((remote, local) => client.handleConnected(connection, remote, local, bootTime())),
      opened: thenSettle(() => client.handleOpened(connection, bootTime())),
      message: thenSettle((bytes) => client.handleMessage(connection, bytes, bootTime())),
      pong: thenSettle(() => client.handlePong(connection)),
      failed: thenSettle((failure) => client.handleFailed(connection, failure, bootTime())),
      closed: thenSettle((code) => client.handleClosed(connection, code, bootTime())),
    });
    this.#sockets.set(connection, socket);
  }

  async #resolve(host: string): Promise<void> {
    const lookup = resolveHost(host).catch((error: HubFailure) => error);
    this.#lookups.set(host, lookup);
    const found = await lookup;
    if (this.#lookups.get(host) !== lookup) return;
    this.#lookups.delete(host);
    this.#client.handleResolved(host, found, bootTime());
    this.settle();
  }
}

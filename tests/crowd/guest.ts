import { NodeCrypto } from '../../src/crypto/node-crypto.js';
import { HubClient } from '../../src/node/machine/hub/hub-client.js';
import { NetworkMap } from '../../src/protocol/map.js';
import type { Membership } from '../../src/protocol/messages.js';
import { parseToken } from '../../src/protocol/token.js';

/** A node that comes, shares something, and is removed: what the others are told of. */
export class Guest {
  readonly #client: HubClient;
  readonly #you: Promise<Membership>;
  readonly #attached: Promise<void>;

  /** Joins at once. */
  constructor(token: string, name: string) {
    const { hub, secret, addresses } = parseToken(token);
    const crypto = new NodeCrypto();
    let attached = (): void => {};
    this.#attached = new Promise((resolve) => {
      attached = resolve;
    });
    let client: HubClient | undefined;
    this.#you = new Promise((resolve, reject) => {
      client = new HubClient({
        crypto,
        privateKey: crypto.generate(),
        hubKey: hub,
        addresses,
        program: 'guest 1',
        map: new NetworkMap(),
        member: { join: { secret, name, shares: [] } },
        onEvent: (event) => {
          if (event.kind === 'joined') resolve(event.you);
          else if (event.kind === 'connected') attached();
          else if (event.kind === 'disconnected' && event.retryIn === undefined) reject(event.failure);
        },
      });
    });
    this.#client = client!;
    this.#client.start();
  }

  /** The hub has said yes. @returns its id, as administrators' requests name it */
  async joined(): Promise<string> {
    return `${(await this.#you).id}`;
  }

  async share(network: string): Promise<void> {
    await this.#attached;
    await this.#client.request('share', { shares: [network] });
  }

  close(): void {
    this.#client.close();
  }
}

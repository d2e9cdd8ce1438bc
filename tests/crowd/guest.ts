import { NodeCrypto } from '../../src/crypto/node-crypto.js';
import { bootTime } from '../../src/linux/process/clock.js';
import { HubDriver } from '../../src/node/shell/hub-driver.js';
import { NetworkMap } from '../../src/protocol/map.js';
import type { Membership } from '../../src/protocol/messages.js';
import { parseToken } from '../../src/protocol/token.js';

/** A node that joins, shares a network and is removed: three changes for the other nodes. */
export class Guest {
  readonly #client: HubDriver;
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
    this.#client = new HubDriver({
      ...{ crypto, privateKey: crypto.generate(), hubKey: hub, addresses, program: 'guest 1' },
      ...{ map: new NetworkMap(), member: { join: { secret, name, shares: [] } } },
    });
    this.#you = new Promise((resolve, reject) => {
      this.#client.onEvent = (event) => {
        if (event.kind === 'invitation') this.#client.client.proceed(bootTime());
        else if (event.kind === 'joined') resolve(event.you);
        else if (event.kind === 'connected') attached();
        else if (event.kind === 'disconnected' && event.retryIn === undefined) reject(event.failure);
      };
    });
    this.#client.start();
  }

  /** Waits until it has joined. @returns its id, as in administrators' requests */
  async joined(): Promise<string> {
    return `${(await this.#you).id}`;
  }

  async share(network: string): Promise<void> {
    await this.#attached;
    await this.#client.request({ type: 'share', shares: [network] });
  }

  close(): void {
    this.#client.close();
  }
}

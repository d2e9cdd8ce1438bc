/**
 * A process with many simulated nodes: the product's hub client over real sockets, without an interface. It prints `{}`
 * when it is ready, and then follows the orders of `protocol.ts`.
 */
import { createInterface } from 'node:readline';
import { NodeCrypto } from '../../src/crypto/node-crypto.js';
import { bootTime } from '../../src/linux/process/clock.js';
import type { HubEvent } from '../../src/node/machine/hub/hub-events.js';
import { HubDriver } from '../../src/node/shell/hub-driver.js';
import {
  type DeltaMessage,
  type MapChange,
  type MapKeeper,
  type MapMessage,
  NetworkMap,
} from '../../src/protocol/map.js';
import type { MapNode, MapVersion } from '../../src/protocol/messages.js';
import { parseToken } from '../../src/protocol/token.js';
import { until } from '../kit/wait.js';
import { monotonic, type Order, type Reply } from './protocol.js';

/** How long to wait for all nodes, milliseconds. */
const PATIENCE = 240_000;

const crypto = new NodeCrypto();
const known = new Map<number, MapNode>();

/** Lets the maps of this process share equal entries. Real nodes run on different machines. */
function shared(node: MapNode): MapNode {
  const other = known.get(node.id);
  if (other?.key === node.key && other.name === node.name && `${other.shares}` === `${node.shares}`)
    return other;
  known.set(node.id, node);
  return node;
}

class Keeper implements MapKeeper {
  #map = new NetworkMap();

  get version(): MapVersion | undefined {
    return this.#map.version;
  }

  applyMap(message: MapMessage): MapChange {
    return this.#map.applyMap({ ...message, nodes: message.nodes.map(shared) });
  }

  applyDelta(message: DeltaMessage): MapChange | 'resync' {
    return this.#map.applyDelta({ ...message, nodes: message.nodes.map(shared) });
  }

  forget(): void {
    this.#map = new NetworkMap();
  }
}

class SimulatedNode {
  static forgets = false;
  readonly keeper = new Keeper();
  readonly #client: HubDriver;
  /** The revisions that it received since the last mark. */
  #learned: { readonly revision: number; readonly at: number }[] = [];
  #attachedAt: number | undefined;
  #currentAt: number | undefined;
  error: Error | undefined;

  constructor(token: string, name: string) {
    const { hub, secret, addresses } = parseToken(token);
    this.#client = new HubDriver({
      crypto,
      privateKey: crypto.generate(),
      hubKey: hub,
      addresses,
      program: 'simulated 1',
      map: this.keeper,
      member: { join: { secret, name, shares: [] } },
    });
    this.#client.onEvent = (event) => this.#on(event);
    this.#client.start();
  }

  mark(): void {
    this.#learned = [];
  }

  brace(): void {
    this.#attachedAt = this.#currentAt = undefined;
  }

  get revision(): number {
    return this.keeper.version?.revision ?? 0;
  }

  /** When it received a revision; undefined if it has not yet. */
  reachedAt(revision: number): number | undefined {
    return this.#learned.find((each) => each.revision >= revision)?.at;
  }

  get attachedAt(): number | undefined {
    return this.#attachedAt;
  }

  /** When its map was first current after it attached. */
  get currentAt(): number | undefined {
    return this.#currentAt;
  }

  #on(event: HubEvent): void {
    if (event.kind === 'invitation') this.#client.client.proceed(bootTime());
    else if (event.kind === 'connected') this.#attachedAt = monotonic();
    else if (event.kind === 'map') {
      const at = monotonic();
      this.#learned.push({ revision: this.revision, at });
      this.#currentAt ??= at;
    } else if (event.kind === 'disconnected') {
      if (event.retryIn === undefined) this.error = event.failure;
      if (SimulatedNode.forgets) this.keeper.forget();
      this.brace();
    }
  }
}

const nodes: SimulatedNode[] = [];

/** Waits until `of` returns a value for every node. */
function all<T>(
  what: string,
  of: (node: SimulatedNode) => T | undefined,
  whose = nodes,
): Promise<readonly T[]> {
  return until(
    what,
    () => {
      const failed = whose.find(({ error }) => error !== undefined);
      if (failed !== undefined) throw failed.error;
      const values: T[] = [];
      for (const node of whose) {
        const value = of(node);
        if (value === undefined) return undefined;
        values.push(value);
      }
      return values;
    },
    PATIENCE,
  );
}

async function handle(order: Order): Promise<Reply> {
  switch (order.do) {
    case 'join': {
      let left = order.count;
      const joinInTurn = async (): Promise<void> => {
        while (left > 0) {
          const node = new SimulatedNode(order.token, `${order.prefix}${left--}`);
          nodes.push(node);
          await all('a node to join', ({ currentAt }) => currentAt, [node]);
        }
      };
      await Promise.all(Array.from({ length: order.atOnce }, joinInTurn));
      return { revision: Math.max(0, ...nodes.map(({ revision }) => revision)) };
    }
    case 'mark':
      for (const node of nodes) node.mark();
      return {};
    case 'reached':
      return { at: await all('the change to reach all nodes', (node) => node.reachedAt(order.revision)) };
    case 'brace':
      SimulatedNode.forgets = order.forget;
      for (const node of nodes) node.brace();
      return {};
    case 'back':
      return {
        attached: await all('all nodes to attach', ({ attachedAt }) => attachedAt),
        current: await all('all maps to be current', ({ currentAt }) => currentAt),
      };
  }
}

const say = (reply: Reply | Record<never, never>): void =>
  void process.stdout.write(`${JSON.stringify(reply)}\n`);
say({});
for await (const line of createInterface({ input: process.stdin })) {
  say(await handle(JSON.parse(line) as Order).catch((error: Error): Reply => ({ error: error.message })));
}
process.exit();

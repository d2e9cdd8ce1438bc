import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface, type Interface } from 'node:readline';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { AdminAnswers, AdminRequest, NodeRow } from '../../src/protocol/messages.js';
import { parseToken } from '../../src/protocol/token.js';
import { SeededRandom } from '../kit/random.js';
import { DATABASES, temporaryFolder, withDatabase } from '../kit/stores.js';
import { TestNode } from '../kit/test-node.js';
import { until } from '../kit/wait.js';

const PROGRAM = fileURLToPath(new URL('./hub-process.js', import.meta.url));
const KILLS = 10;
const WRITERS = 4;

/** A running hub that the test kills. */
class HubProcess {
  readonly port: number;
  readonly publicKey: Uint8Array;
  readonly child: ChildProcess;
  readonly #lines: AsyncIterator<string>;

  private constructor(
    child: ChildProcess,
    lines: AsyncIterator<string>,
    port: number,
    publicKey: Uint8Array,
  ) {
    this.child = child;
    this.#lines = lines;
    this.port = port;
    this.publicKey = publicKey;
  }

  static async start(t: TestContext, state: string, database: string | undefined): Promise<HubProcess> {
    const args = [PROGRAM, state, ...(database === undefined ? [] : [database])];
    const child = spawn(process.execPath, args, { stdio: ['pipe', 'pipe', 'pipe'] });
    t.after(() => child.kill('SIGKILL'));
    let errors = '';
    child.stderr.on('data', (chunk: Buffer) => {
      errors += chunk;
    });
    child.stdin.on('error', () => {}); // it was killed
    const reader: Interface = createInterface({ input: child.stdout });
    const lines = reader[Symbol.asyncIterator]();
    const first = await lines.next();
    assert.ok(first.done !== true, `the hub did not start: ${errors}`);
    const { port, publicKey } = JSON.parse(first.value) as { port: number; publicKey: string };
    return new HubProcess(child, lines, port, Buffer.from(publicKey, 'base64'));
  }

  /** @throws Error when the hub was killed meanwhile */
  async administer<T>(request: AdminRequest): Promise<T> {
    this.child.stdin!.write(`${JSON.stringify(request)}\n`);
    const line = await this.#lines.next();
    if (line.done === true) throw new Error('the hub has ended');
    return JSON.parse(line.value) as T;
  }

  async kill(): Promise<void> {
    const ended = once(this.child, 'exit');
    this.child.kill('SIGKILL');
    await ended;
  }
}

/** The changes that the hub has acknowledged. */
interface Acknowledged {
  readonly members: Map<number, { readonly key: string; readonly name: string; readonly ipv4: string }>;
  readonly left: Set<number>;
  readonly invites: Set<string>;
}

const INVITE: AdminRequest = {
  op: 'invite',
  expires: 86_400,
  reusable: true,
  uses: 65_000,
  admin: false,
  shares: [],
};

/** Creates invitations as fast as possible until the hub ends. */
async function makeInvites(hub: HubProcess, { invites }: Acknowledged): Promise<void> {
  try {
    for (;;) invites.add((await hub.administer<AdminAnswers['invite']>(INVITE)).invite);
  } catch {} // it was killed
}

/** Joins with one key after another until the hub ends; every fifth node leaves again. */
async function write(hub: HubProcess, secret: Uint8Array, acknowledged: Acknowledged): Promise<void> {
  for (let i = 0; ; i++) {
    const node = new TestNode();
    try {
      await node.connect(hub);
      const { you } = await node.join(secret, 'node');
      acknowledged.members.set(you.id, { key: node.keyText, name: you.name, ipv4: you.ipv4! });
      if (i % 5 !== 0) continue;
      await node.attach();
      // Whether the node is gone is unknown until the answer arrives.
      acknowledged.members.delete(you.id);
      await node.ask({ type: 'leave' });
      acknowledged.left.add(you.id);
    } catch {
      return; // it was killed
    } finally {
      node.close();
    }
  }
}

for (const kind of DATABASES) {
  test(`${kind}: ${KILLS} kill -9 during writes lose nothing acknowledged`, (t) =>
    withDatabase(t, kind, async (_, database) => {
      const state = temporaryFolder(t);
      const random = new SeededRandom(50);
      const acknowledged: Acknowledged = { members: new Map(), left: new Set(), invites: new Set() };
      const where = kind === 'SQLite' ? undefined : database;
      let hub = await HubProcess.start(t, state, where);
      const publicKey = hub.publicKey;
      const { token } = await hub.administer<AdminAnswers['invite']>(INVITE);
      const { secret } = parseToken(token);
      for (let kill = 0; kill < KILLS; kill++) {
        const before = acknowledged.members.size + acknowledged.left.size;
        const writers = Promise.all([
          makeInvites(hub, acknowledged),
          ...Array.from({ length: WRITERS }, () => write(hub, secret, acknowledged)),
        ]);
        await until('writes', () => acknowledged.members.size + acknowledged.left.size >= before + 4, 60_000);
        await sleep(random.below(300));
        await hub.kill();
        await writers;
        hub = await HubProcess.start(t, state, where);
        assert.deepEqual(hub.publicKey, publicKey);
        const { nodes } = await hub.administer<AdminAnswers['nodes']>({ op: 'nodes' });
        check(nodes, acknowledged);
        const { invites } = await hub.administer<AdminAnswers['invites']>({ op: 'invites' });
        const ids = new Set(invites.map(({ id }) => id));
        for (const id of acknowledged.invites) assert.ok(ids.has(id), `invitation ${id} is lost`);
      }
      const counts = `${acknowledged.members.size} joined, ${acknowledged.left.size} left, ${acknowledged.invites.size} invitations`;
      t.diagnostic(counts);
      assert.ok(acknowledged.members.size + acknowledged.left.size >= KILLS * 4, counts);
      assert.ok(acknowledged.left.size > 5 && acknowledged.invites.size > KILLS, counts);
      await hub.kill();
    }));
}

function check(nodes: readonly NodeRow[], { members, left }: Acknowledged): void {
  const byId = new Map(nodes.map((node) => [node.id, node]));
  for (const [id, { key, name, ipv4 }] of members) {
    const node = byId.get(id);
    assert.ok(node !== undefined, `node ${id} was acknowledged and is lost`);
    assert.deepEqual([node.key, node.name, node.ipv4], [key, name, ipv4]);
  }
  for (const id of left) assert.ok(!byId.has(id), `node ${id} has left and is back`);
  for (const field of ['key', 'name', 'ipv4', 'ipv6'] as const) {
    assert.equal(
      new Set(nodes.map((node) => node[field])).size,
      nodes.length,
      `a ${field} was assigned twice`,
    );
  }
}

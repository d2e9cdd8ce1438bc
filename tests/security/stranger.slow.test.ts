/*
 * What a stranger who reaches a hub's port can do. Single messages, and the time limit for keys that are no member's:
 * src/hub/server/server.test.ts. The relay's UDP port: src/hub/relay/relay.test.ts and flood.test.ts.
 */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { AdminAnswers } from '../../src/protocol/messages.js';
import { parseToken } from '../../src/protocol/token.js';
import { ADMIN_REQUESTS, type HubContact, randomSecret, TestNode, TestRefusal } from '../kit/test-node.js';
import { UPGRADE } from '../kit/upgrade-request.js';
import { until } from '../kit/wait.js';

/** How many silent connections a hub keeps, src/hub/server/server.ts, and for how long, milliseconds. */
const MOST_HELD = 8_192;
const HELD_FOR = 10_000;

const HUB = fileURLToPath(new URL('../hub/hub-process.js', import.meta.url));

/** A hub in its own process, so that its memory can be measured. */
class Hub implements HubContact {
  stderr = '';
  port = 0;
  publicKey: Uint8Array = new Uint8Array();
  readonly #child: ChildProcess;
  readonly #lines: AsyncIterator<string>;

  private constructor(child: ChildProcess) {
    this.#child = child;
    child.stderr!.on('data', (text) => {
      this.stderr += String(text);
    });
    this.#lines = createInterface({ input: child.stdout! })[Symbol.asyncIterator]();
  }

  static async start(t: TestContext): Promise<Hub> {
    const state = mkdtempSync(join(tmpdir(), 'lametun-hub-'));
    const child = spawn(process.execPath, [HUB, state], { stdio: ['pipe', 'pipe', 'pipe'] });
    const hub = new Hub(child);
    t.after(async () => {
      child.kill('SIGKILL');
      if (child.exitCode === null && child.signalCode === null) await once(child, 'close');
      rmSync(state, { recursive: true, force: true });
    });
    const { port, publicKey } = JSON.parse((await hub.#lines.next()).value as string);
    hub.port = port as number;
    hub.publicKey = Buffer.from(publicKey as string, 'base64');
    return hub;
  }

  async member(t: TestContext, name: string): Promise<TestNode> {
    const request = { op: 'invite', expires: 60, reusable: false, admin: false, shares: [] };
    this.#child.stdin!.write(`${JSON.stringify(request)}\n`);
    const { token } = JSON.parse((await this.#lines.next()).value as string) as AdminAnswers['invite'];
    const node = await new TestNode().connect(this);
    t.after(() => node.close());
    await node.join(parseToken(token).secret, name);
    await node.attach();
    return node;
  }

  /** Resident memory, MiB. */
  get memory(): number {
    const [, kib] = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${this.#child.pid}/status`, 'utf8'))!;
    return Number(kib) / 1024;
  }

  /** The number of established TCP connections to the hub. */
  get connections(): number {
    const port = this.port.toString(16).toUpperCase().padStart(4, '0');
    const tables = readFileSync('/proc/net/tcp', 'utf8') + readFileSync('/proc/net/tcp6', 'utf8');
    return (
      tables.match(new RegExp(`^ *\\d+: [0-9A-F]+:${port} [0-9A-F]+:[0-9A-F]{4} 01 `, 'gm'))?.length ?? 0
    );
  }
}

const refusedWith = (code: string) => (error: unknown) => error instanceof TestRefusal && error.code === code;

/** A WebSocket fragment that is not the last of its message. */
const fragment = (opcode: number, length: number): Buffer =>
  Buffer.from([opcode, 0x80 | length, 0, 0, 0, 0, ...Buffer.alloc(length)]);
const fragments = (count: number, length: number): Buffer[] =>
  Array.from({ length: count }, () => fragment(0x00, length));

test('10 000 connections cost a hub little memory, disturb no member, and log nothing', async (t) => {
  const hub = await Hub.start(t);
  const member = await hub.member(t, 'a');
  await member.ask({ type: 'who' });
  const before = hub.memory;
  const sockets: Socket[] = [];
  t.after(() => sockets.forEach((socket) => void socket.destroy()));
  // In turn: nothing; the longest incomplete head; an incomplete first message, whole or in fragments; garbage; and input
  // that is cut off at once: a frame that is too long, endless fragments.
  const head = UPGRADE.slice(0, -2);
  const openings = [
    undefined,
    `${head}x: ${'y'.repeat(4_080 - head.length)}`,
    Buffer.concat([Buffer.from(UPGRADE), Buffer.of(0x82, 0xfe, 0x04, 0x60, 0, 0, 0, 0), Buffer.alloc(1_100)]),
    Buffer.concat([Buffer.from(UPGRADE), fragment(0x02, 125), ...fragments(6, 125)]),
    '\0\x01\x02 nonsense\r\n\r\n',
    Buffer.concat([
      Buffer.from(UPGRADE),
      Buffer.of(0x82, 0xfe, 0xff, 0xff, 0, 0, 0, 0),
      Buffer.alloc(60_000),
    ]),
    Buffer.concat([Buffer.from(UPGRADE), fragment(0x02, 1), ...fragments(8_000, 1)]),
  ];
  const silent = 10_000;
  const began = performance.now();
  for (let i = 0; i < silent; i++) {
    const socket = connect(hub.port, '127.0.0.1').on('error', () => {});
    const opening = openings[i % openings.length];
    if (opening !== undefined) socket.write(opening);
    sockets.push(socket);
    if (i % 200 === 199) {
      await once(socket, 'connect').catch(() => {}); // the hub may have closed it already
      await member.ask({ type: 'who' });
    }
  }
  const held = hub.connections;
  const most = hub.memory - before;
  t.diagnostic(`${held} connections held, ${most.toFixed(0)} MiB more`);
  const expected = Math.min(silent, MOST_HELD, (silent * HELD_FOR) / (performance.now() - began));
  assert.ok(held > expected / 3, `${held} connections stay, those not cut off at once`);
  assert.ok(most < 150, `${most} MiB for ${silent} connections`);
  await until('the hub to close all but the member', () => hub.connections <= 1);
  assert.deepEqual((await member.ask({ type: 'who' })).online, [1]);
  assert.equal(hub.stderr, '');
});

test('a stranger who knows the hub’s key gets only refusals', async (t) => {
  const hub = await Hub.start(t);
  const member = await hub.member(t, 'a');
  const stranger = await new TestNode().connect(hub);
  t.after(() => stranger.close());
  const version = { epoch: 'e', revision: 0 };
  const as = { run: 'r', turn: 1 };
  for (const have of [undefined, version])
    await assert.rejects(
      stranger.ask({ type: 'attach', network: 'n', as, have }),
      refusedWith('other-network'),
    );
  for (const [what, request] of Object.entries({
    map: { type: 'attach', network: member.network, as, have: undefined },
    delta: { type: 'attach', network: member.network, as, have: version },
    online: { type: 'who' },
    share: { type: 'share', shares: ['192.168.1.0/24'] },
    leave: { type: 'leave' },
  } as const))
    await assert.rejects(stranger.ask(request), refusedWith('not-a-member'), what);
  for (const request of ADMIN_REQUESTS)
    await assert.rejects(stranger.ask({ type: 'admin', request }), refusedWith('not-an-admin'), request.op);
  const secret = randomSecret();
  await assert.rejects(stranger.join(secret), refusedWith('bad-secret'));
  await assert.rejects(
    stranger.ask({ type: 'check-invitation', secret: Buffer.from(secret).toString('base64') }),
    refusedWith('bad-secret'),
  );
  const datagram = new Uint8Array(64);
  datagram[0] = 4;
  for (let i = 0; i < 100; i++) stranger.sendFrame(1, datagram);
  await stranger.closed();
  assert.deepEqual(
    stranger.messages.filter(({ type }) => type !== 'refused'),
    [],
    'only refusals',
  );
  assert.deepEqual(member.frames, []);
  assert.deepEqual((await member.ask({ type: 'who' })).online, [1]);
  assert.equal(hub.stderr, '');
});

/*
 * The relay, its operator and eavesdroppers cannot read packets inside the network. Each search has a control: the same
 * search finds the text where it must be.
 */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join as joinPath } from 'node:path';
import { type TestContext, test } from 'node:test';
import { PacketSocket } from '../../src/linux/net/packet-socket.js';
import { type Machine, NetworkLab } from '../kit/network-lab.js';
import { findInMemory, readMemory } from '../kit/process-memory.js';
import { needs } from '../kit/requirements.js';
import { until } from '../kit/wait.js';
import { hubAlone, invite, join } from '../network/join.js';

/** Captures everything on a device. A node masks what it sends by WebSocket (RFC 6455 §5.3); the hub does not. */
class Capture {
  readonly #socket: PacketSocket;
  readonly #packets: Buffer[] = [];
  readonly #timer = setInterval(() => this.#drain(), 20);

  constructor(t: TestContext, { namespace }: Machine, device: string) {
    this.#socket = namespace.inside(() => PacketSocket.open(device));
    t.after(() => {
      clearInterval(this.#timer);
      this.#socket.close();
    });
  }

  get bytes(): Buffer {
    this.#drain();
    return Buffer.concat(this.#packets);
  }

  #drain(): void {
    for (const { bytes } of this.#socket.drain()) this.#packets.push(Buffer.from(bytes));
  }
}

/** A program that receives, and one that sends about 350 KB of the same text. */
const SERVER = `require('net').createServer((s) => s.resume().on('end', () => s.end('thanks'))).listen(7000, '0.0.0.0', () => console.log('listens'))`;
const CLIENT = `const s = require('net').connect(7000, process.argv[1], () => s.end(process.argv[2].repeat(8000))); s.on('data', (d) => console.log(String(d)))`;

const filesOf = (folder: string): Map<string, Buffer> =>
  new Map(
    readdirSync(folder)
      .filter((name) => statSync(joinPath(folder, name)).isFile())
      .map((name) => [name, readFileSync(joinPath(folder, name))]),
  );

function inMemory(pid: number, needle: Buffer): boolean {
  for (const { bytes } of readMemory(pid, needle.length)) if (bytes.includes(needle)) return true;
  return false;
}

const forms = (key: Buffer): Buffer[] => [
  key.subarray(0, 16),
  key.subarray(16),
  ...(['hex', 'base64'] as const).flatMap((form) => {
    const text = key.toString(form);
    return [Buffer.from(text.slice(0, 20)), Buffer.from(text.slice(20, 40))];
  }),
];

for (const [via, blocked] of [
  ['udp', undefined],
  ['websocket', 'udp'],
] as const) {
  test(`only the two ends can read packets relayed by ${via}`, async (t) => {
    if (!needs(t, 'netns', 'tun', 'nft', 'ping')) return;
    const lab = new NetworkLab(t);
    const hub = lab.site('hub').machine;
    const behind = { access: 'hard', ...(blocked && { blocked }) } as const;
    const [a, b] = [lab.site('a', behind).machine, lab.site('b', { ...behind, lan: 2 }).machine];
    const outside = {
      hub: new Capture(t, hub, 'wan'),
      a: new Capture(t, a, 'eth0'),
      b: new Capture(t, b, 'eth0'),
    };
    const runningHub = await hubAlone(hub);
    const secretName = `n${randomBytes(12).toString('hex')}`;
    const needle = `the needle ${randomBytes(16).toString('hex')} `;
    const nodeA = join(a, invite(hub));
    await nodeA.says(/is up/);
    await b.start('join', invite(hub), '--name', secretName).says(/is up/);
    for (const machine of [a, b]) await until(via, async () => (await machine.status()).relay.via === via);
    const inside = new Capture(t, a, 'lametun0');

    const server = b.spawn(process.execPath, '-e', SERVER);
    await server.says(/listens/);
    const address = (await b.status()).self.ipv4 as string;
    await until('b to reply', () => a.pings(address));
    await a.spawn(process.execPath, '-e', CLIENT, address, needle).says(/thanks/); // captured while it runs
    await until('the name of b to resolve', () =>
      a.run('getent', 'ahosts', `${secretName}.home.lametun`).stdout.includes(address),
    );
    assert.equal((await a.status()).peers[0]!.path.kind, 'relayed');

    const captured = Object.entries(outside).map(
      ([where, capture]) => [`the capture at ${where}`, capture.bytes] as const,
    );
    for (const [where, bytes] of captured)
      assert.ok(bytes.length > 8000 * needle.length, `${where}: ${bytes.length} bytes`);
    const stored = [...filesOf(hub.state)].map(([name, bytes]) => [`the hub's ${name}`, bytes] as const);
    assert.ok(stored.some(([where]) => /hub\.sqlite$/.test(where)));

    await t.test('packets', () => {
      const text = Buffer.from(needle);
      for (const [where, bytes] of [...captured, ...stored]) assert.ok(!bytes.includes(text), where);
      assert.ok(!inMemory(runningHub.pid, text), "the hub's memory");
      assert.ok(inside.bytes.includes(text), 'control: the inner device');
      assert.ok(inMemory(nodeA.pid, text), 'control: the memory of a node');
    });

    await t.test('names: only the hub and the members know them', async () => {
      const text = Buffer.from(secretName);
      for (const [where, bytes] of captured) assert.ok(!bytes.includes(text), where);
      // Control: a node saves its map within a second.
      await until('the map of a member', () => readFileSync(joinPath(a.state, 'map.json')).includes(text));
      assert.ok(
        stored.some(([, bytes]) => bytes.includes(text)),
        'control: the hub knows it',
      );
      assert.ok(inMemory(runningHub.pid, text));
    });

    await t.test('a name outside the network is still queried in the clear', async () => {
      const name = `x${randomBytes(8).toString('hex')}`;
      a.run('getent', 'ahosts', `${name}.example.org`);
      await until('the query', () => outside.a.bytes.includes(Buffer.from(name)));
    });

    await t.test('private keys', async () => {
      const keys = Object.fromEntries(
        [a, b].map(({ name, state }) => [
          name,
          Buffer.from(readFileSync(`${state}/node.key`, 'utf8'), 'base64'),
        ]),
      );
      for (const [name, key] of Object.entries(keys)) {
        assert.equal(key.length, 32);
        for (const form of forms(key)) {
          for (const [where, bytes] of [...captured, ...stored])
            assert.ok(!bytes.includes(form), `${where} contains the key of ${name}`);
        }
      }
      assert.deepEqual(findInMemory(runningHub.pid, keys), [], "the hub's memory");
      assert.ok(findInMemory(nodeA.pid, { a: keys['a']! }).length > 0, 'control: the memory of a node');
      const hubKey = Buffer.from(readFileSync(`${hub.state}/hub.key`, 'utf8').trim(), 'base64');
      for (const form of forms(hubKey))
        for (const [where, bytes] of captured) assert.ok(!bytes.includes(form), where);
      assert.ok(findInMemory(runningHub.pid, { hub: hubKey }).length > 0, 'control: its own key');
      const publicKey = Buffer.from((await a.status()).self.key as string);
      assert.ok(
        stored.some(([, bytes]) => bytes.includes(publicKey)),
        'control: public keys are in the database',
      );
    });
  });
}

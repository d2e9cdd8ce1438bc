/*
 * What other users on the machine of a node or a hub can do. Each file: src/node/shell/state.test.ts. The control socket:
 * src/node/control/control.test.ts. The resolver, its limits, and queries from other machines and containers:
 * tests/netns/resolver.test.ts.
 */
import assert from 'node:assert/strict';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join as joinPath } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { NodeCrypto } from '../../src/crypto/node-crypto.js';
import { TextLog } from '../../src/log.js';
import { operatorsPath } from '../../src/node/control/operators.js';
import { startNode } from '../../src/node/shell/node.js';
import { StateDirectory } from '../../src/node/shell/state.js';
import { MAIN } from '../kit/lametun.js';
import { NetworkLab, type Outcome } from '../kit/network-lab.js';
import { frameTo, relayable } from '../kit/relay-member.js';
import { needs } from '../kit/requirements.js';
import { attachedAnswer, mapNode, member, NETWORK, SmallHub } from '../kit/small-hub.js';
import { until } from '../kit/wait.js';
import { join, serve } from '../network/join.js';

test('other users cannot read the state of a hub or node, nor use their control sockets', async (t) => {
  if (!needs(t, 'netns', 'tun', 'nft', 'setpriv')) return;
  const lab = new NetworkLab(t);
  const office = lab.site('office').machine;
  const laptop = lab.site('laptop').machine;
  const { token } = await serve(office);
  await join(laptop, token).says(/is up/);
  for (const machine of [office, laptop])
    await until('all files to be written', () =>
      ['map.json', 'names.json', 'control.sock'].every((name) => existsSync(joinPath(machine.state, name))),
    );
  assert.equal(office.lametun('backup', `${office.state}/backup`).status, 0);
  const other = ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups'] as const;
  for (const machine of [office, laptop]) {
    assert.equal(statSync(machine.state).mode & 0o777, 0o700);
    const names = readdirSync(machine.state);
    for (const name of [
      ...(machine === office ? ['hub.key', 'hub.sqlite', 'hub.json', 'backup'] : []),
      'node.key',
      'node.json',
      'map.json',
      'control.sock',
    ])
      assert.ok(names.includes(name), `${name} exists: ${names}`);
    for (const name of names) {
      const file = statSync(joinPath(machine.state, name));
      if (file.isDirectory()) continue; // the state directory itself is closed to others
      assert.equal(file.mode & 0o077, 0, `${name}: ${file.mode.toString(8)}`);
      assert.equal(file.uid, 0);
    }
    assert.notEqual(machine.run(...other, 'cat', `${machine.state}/node.key`).status, 0);
    for (const command of [['status'], ['invite'], ['leave'], ['remove', 'laptop']]) {
      const { status, stdout, stderr } = machine.run(
        ...other,
        process.execPath,
        MAIN,
        ...command,
        '--state',
        machine.state,
      );
      assert.notEqual(status, 0, stdout);
      assert.match(stderr, /^lametun: [^\n]*(sudo|permission)[^\n]*\n$/i);
      if (command[0] === 'status') assert.match(stderr, /lametun up --operators GROUP/);
    }
  }
  assert.equal(office.lametun('invite').status, 0, 'control');
  assert.equal(laptop.run('cat', `${laptop.state}/node.key`).status, 0);
});

test('members of the --operators group may see the status until the option is withdrawn; others may not', async (t) => {
  if (!needs(t, 'netns', 'tun', 'nft', 'setpriv')) return;
  const lab = new NetworkLab(t);
  const { machine } = lab.site('office');
  const GROUP = 2; // called `bin` on Debian and `daemon` elsewhere
  const first = machine.start('serve', '--network', 'home', '--name', 'office', '--operators', String(GROUP));
  await first.says(/members of the group 2 may use/i);
  await first.says(/is up/);
  const as = (groups: string, ...command: readonly string[]): Outcome =>
    machine.run(
      ...['setpriv', '--reuid=65534', '--regid=65534', groups],
      ...[process.execPath, MAIN, ...command, '--state', machine.state],
    );
  const member = (...command: readonly string[]): Outcome => as(`--groups=1,${GROUP}`, ...command);
  const stranger = (...command: readonly string[]): Outcome => as('--groups=1,3', ...command);

  const { status, stdout, stderr } = member('status', '--json');
  assert.equal(status, 0, stderr);
  const { self } = JSON.parse(stdout) as { self: { name: string } };
  assert.equal(self.name, 'office');
  assert.ok(!stdout.includes(readFileSync(joinPath(machine.state, 'node.key'), 'utf8').slice(0, 43)));
  const invited = member('invite');
  assert.equal(invited.status, 2, invited.stdout);
  assert.match(invited.stderr, /^lametun: members of the group 2 may only use [^\n]*try sudo\n$/);
  const refused = stranger('status');
  assert.equal(refused.status, 2, refused.stdout);
  assert.match(refused.stderr, /^lametun: only root may ask this; members of the group 2 [^\n]*\n$/);
  assert.equal(machine.lametun('invite').status, 0, 'control');
  assert.equal(await first.stop(), 0, first.stderr);

  const again = machine.start('up');
  await again.says(/is up/);
  assert.equal(member('status').status, 0);
  assert.equal(await again.stop(), 0, again.stderr);
  const last = machine.start('up', '--no-operators');
  await last.says(/is up/);
  assert.match(member('status').stderr, /try sudo, or ask root to admit a group that you are in/);
  assert.ok(!existsSync(operatorsPath(machine.state)));
});

test('no other process can inject frames into the loopback socket to the relay', async (t) => {
  if (!needs(t, 'root', 'tun')) return;
  const crypto = new NodeCrypto();
  const key = crypto.generate();
  const hub = new SmallHub(crypto, key);
  const port = await hub.listen();
  t.after(() => hub.close());
  hub.answer = (question, node) => {
    switch (question.type) {
      case 'check-invitation':
        return { network: NETWORK };
      case 'join':
        return { network: NETWORK, you: member(1) };
      case 'attach': {
        const self = { ...mapNode(1), key: Buffer.from(node.key).toString('base64') };
        setTimeout(
          () => node.send({ type: 'map', version: { epoch: 'e', revision: 1 }, nodes: [self, mapNode(2)] }),
          20,
        );
        return attachedAnswer(1);
      }
      default:
        return {};
    }
  };
  const before = loopbackPorts();
  const folder = mkdtempSync(joinPath(tmpdir(), 'lametun-'));
  const state = StateDirectory.open(folder);
  const token = {
    hub: key.publicKey.bytes,
    secret: new Uint8Array(16),
    addresses: [{ host: '127.0.0.1', port, tls: false }],
  };
  const node = await startNode({
    ...{ state, log: new TextLog(0, 'node', () => {}), program: 'test' },
    join: { token, name: 'node1', interface: 'lt0', shares: [] },
  });
  t.after(async () => {
    await node.close();
    state.close();
    rmSync(folder, { recursive: true });
  });
  await until('the map', async () => (await node.status()).peers.length === 1);
  const [relay, ...others] = loopbackPorts().filter((each) => !before.includes(each));
  assert.ok(relay !== undefined && others.length === 0);

  const stranger = createSocket('udp4');
  t.after(() => stranger.close());
  for (let i = 0; i < 20; i++) stranger.send(frameTo(2, relayable(64, i)), relay, '127.0.0.1');
  await sleep(300);
  assert.equal(hub.frames.length, 0);
  void node.ping('node2');
  await until('control: a frame from the node itself', () => hub.frames.length > 0);
  assert.equal(hub.frames[0]!.peer, 2);

  // Nor can it bind the port that identifies the node there.
  const { port: devicePort } = JSON.parse(readFileSync(joinPath(folder, 'node.json'), 'utf8')) as {
    port: number;
  };
  const imitation = createSocket({ type: 'udp4', reuseAddr: true });
  t.after(() => imitation.close());
  imitation.bind(devicePort, '127.0.0.1');
  const [error] = (await once(imitation, 'error')) as [NodeJS.ErrnoException];
  assert.equal(error.code, 'EADDRINUSE');
});

/** The UDP ports on 127.0.0.1 in use in this network namespace. */
const loopbackPorts = (): number[] =>
  [...readFileSync('/proc/net/udp', 'utf8').matchAll(/^ *\d+: 0100007F:([0-9A-F]{4}) /gm)].map(([, port]) =>
    Number.parseInt(port!, 16),
  );

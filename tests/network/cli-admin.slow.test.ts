import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join as path } from 'node:path';
import { test } from 'node:test';
import { type Machine, NetworkLab, type Outcome } from '../kit/network-lab.js';
import { needs } from '../kit/requirements.js';
import { until } from '../kit/wait.js';
import { CUT_OFF, invite, join, serve } from './join.js';

/** The commands that work on a running network, for administrators and for everyone. */

function refused({ status, stdout, stderr }: Outcome, says: RegExp, expected = 1): void {
  assert.match(stderr, says);
  assert.match(stderr, /^lametun: [^\n]+\n$/);
  assert.equal(status, expected);
  assert.equal(stdout, '');
}

function said({ status, stdout, stderr }: Outcome): string {
  assert.equal(status, 0, stderr);
  assert.equal(stderr, '');
  return stdout;
}

/** `lametun ... --json`: one object. */
// biome-ignore lint/suspicious/noExplicitAny: each test reads the fields that it expects
const json = (machine: Machine, ...args: readonly string[]): any =>
  JSON.parse(said(machine.lametun(...args, '--json')));

test('a network that requires approval, from its first node to its last', async (t) => {
  if (!needs(t, 'netns', 'tun', 'nft', 'ping')) return;
  const lab = new NetworkLab(t);
  const office = lab.site('office').machine;
  const home = lab.site('home', { access: 'easy', gateway: true, lan: 7 });
  const laptop = lab.site('laptop').machine;
  const { hub, token } = await serve(office, '--ask');
  const homeNode = join(home.machine, token);

  await t.test('a joining node is pending, and learns the command that approves it', async () => {
    await homeNode.says(/home has asked to join home.*lametun approve home/);
    await until('the node to attach', async () => (await home.machine.status()).hub.state === 'connected');
    assert.match(said(home.machine.lametun('status')), /waits for an administrator: `lametun approve home`/);
    assert.match(said(home.machine.lametun('status')), /^hub +connected to /m);
    assert.match(
      said(home.machine.lametun('status')),
      /^relay +none: this node waits for an administrator$/m,
    );
    assert.match(said(home.machine.lametun('status')), /^this node .*, no address until it is approved$/m);
    assert.match(said(office.lametun('nodes')), /^home +- +- +pending approval/m);
    assert.ok((await home.machine.status()).self.pending);
    assert.ok(!home.machine.pings('office.home.lametun'));
    refused(office.lametun('approve', 'nobody'), /nobody/, 2);
    assert.equal(json(office, 'approve', 'home').name, 'home');
    await until('a reply by name', () => home.machine.pings('office.home.lametun'));
    await homeNode.says(/this node was approved; its addresses are 10\./);
  });

  await t.test('a share added later is pending too, and works once approved', async () => {
    assert.match(said(home.machine.lametun('share')), /shares no networks/);
    refused(home.machine.lametun('share', '192.168.7.1/24'), /192\.168\.7\.1\/24.*192\.168\.7\.0\/24/, 2);
    const { shares } = json(home.machine, 'share', '192.168.7.0/24');
    assert.deepEqual(shares, [{ network: '192.168.7.0/24', state: 'pending' }]);
    assert.ok(!office.pings('192.168.7.23'));
    assert.match(said(office.lametun('nodes')), /^home .*192\.168\.7\.0\/24 \(pending approval\)/m);
    assert.match(said(office.lametun('approve', 'home')), /shares 192\.168\.7\.0\/24/);
    await until('a host behind the node to answer', () => office.pings('192.168.7.23'));
    assert.equal(said(home.machine.lametun('share')), '192.168.7.0/24 (approved)\n');
    assert.match(said(office.lametun('status')), /^ +shares 192\.168\.7\.0\/24$/m);
    assert.deepEqual(json(home.machine, 'share', '--none').shares, []);
    await until('the route to be gone', () => !office.pings('192.168.7.23'));
  });

  await t.test('ping names the path, and rejects an unknown node', async () => {
    const line = await until('a reply with its round-trip time', () => {
      const { status, stdout } = home.machine.lametun('ping', 'office', '-c', '1', '--json');
      return status === 0 && stdout.split('\n')[0];
    });
    const { node, sequence, rttMs } = JSON.parse(line);
    assert.deepEqual([node, sequence, typeof rttMs], ['office', 1, 'number']);
    refused(
      home.machine.lametun('ping', 'ofice', '-c', '1'),
      /no node ofice: `lametun status` lists them/,
      2,
    );
    refused(home.machine.lametun('ping', 'home', '-c', '1'), /home is this node itself/, 2);
  });

  await t.test('only administrators administer, including members invited as administrators', async () => {
    refused(home.machine.lametun('nodes'), /administrator/);
    refused(home.machine.lametun('invite'), /administrator/);
    const running = join(laptop, invite(office, '--admin'));
    await running.says(/asked to join/);
    assert.match(said(laptop.lametun('status')), /^this node .*, admin once approved$/m);
    refused(laptop.lametun('nodes'), /this node is pending approval/);
    said(office.lametun('approve', 'laptop'));
    await until('the laptop to be approved', async () => (await laptop.status()).self.pending === false);
    const { invite: id, command, token } = json(laptop, 'invite', '--reusable', '--expires', '2h');
    assert.equal(command, `lametun join ${token}`);
    const { invites } = json(laptop, 'invites');
    assert.equal(invites.find((row: { id: string }) => row.id === id).state, 'open');
    assert.match(said(laptop.lametun('invites')), new RegExp(`^${id} +open +in 2 h +0 of 100`, 'm'));
    assert.deepEqual(json(laptop, 'revoke', id), { revoked: id, removed: 0 });
    refused(laptop.lametun('revoke', 'nonsense'), /nonsense/, 2);
    refused(office.lametun('remove', 'nobody'), /no node nobody/, 2);
    assert.match(said(laptop.lametun('invites')), new RegExp(`^${id} +revoked`, 'm'));
    assert.equal(json(laptop, 'nodes').nodes.length, 3);
  });

  await t.test('a renamed node has its new name everywhere, and on itself', async () => {
    assert.deepEqual(json(laptop, 'rename', 'home', 'cottage'), { name: 'cottage', before: 'home' });
    await homeNode.says(/this node is now called cottage/);
    await until('laptop to learn of it', async () =>
      (await laptop.status()).peers.some(({ name }: { name: string }) => name === 'cottage'),
    );
    await until('a reply by the new name', () => laptop.pings('cottage.home.lametun'));
    await until('the node to find itself by the new name', () => home.machine.pings('cottage.home.lametun'));
    assert.ok(!laptop.pings('home.home.lametun'), 'the old name no longer resolves');
    const { self } = await home.machine.status();
    assert.deepEqual([self.name, self.fullName], ['cottage', 'cottage.home.lametun']);
    assert.equal(JSON.parse(readFileSync(path(home.machine.state, 'node.json'), 'utf8')).you.name, 'cottage');
    refused(office.lametun('rename', 'cottage', 'laptop'), /the name laptop is taken: choose another/, 2);
    refused(office.lametun('rename', 'nobody', 'x'), /no node nobody/, 2);
    refused(
      office.lametun('rename', 'cottage', 'A Hut'),
      /the name "A Hut" is not valid: .*such as "a-hut"/,
      2,
    );
    refused(
      office.lametun('rename', 'cottage', 'hub'),
      /the name hub cannot be used: the name is reserved/,
      2,
    );
    assert.match(said(office.lametun('rename', 'cottage', 'home')), /^Renamed cottage to home\n$/);
    await until('laptop to learn of it', () => laptop.pings('home.home.lametun'));
    assert.deepEqual((await laptop.status()).warnings, [], 'the key is unchanged');
  });

  await t.test('a removed node is cut off within 2 s, and exits with status 1 and the reason', async (t) => {
    const address = (await home.machine.status()).self.ipv4!;
    await until('a reply', () => laptop.pings(address));
    const command = json(office, 'remove', 'home');
    const since = performance.now();
    assert.equal(command.name, 'home');
    await until('laptop to learn of it', async () => (await laptop.status()).peers.length === 1, CUT_OFF);
    t.diagnostic(`cut off ${Math.round(performance.now() - since)} ms after the command ended`);
    assert.ok(!laptop.pings(address));
    assert.equal(await homeNode.ended, 1);
    assert.match(
      homeNode.stderr,
      /^lametun: this node was removed from the network home; its key and its state are kept in /m,
    );
    assert.notEqual(home.machine.run('ip', 'link', 'show', 'lametun0').status, 0);
    refused(home.machine.lametun('up'), /contains no network/, 2);
  });

  await t.test('status --watch keeps running, and exits on Ctrl-C with status 0', async () => {
    const watching = laptop.start('status', '--watch', '--json');
    await watching.says(/\n.*\n/);
    assert.equal(await watching.stop('SIGINT'), 0, watching.stderr);
    for (const line of watching.stdout.trim().split('\n')) assert.equal(JSON.parse(line).self.name, 'laptop');
    assert.equal(watching.stderr, '');
    const pinging = laptop.start('ping', 'office');
    await pinging.says(/office .* 2: /);
    assert.equal(await pinging.stop('SIGINT'), 0, pinging.stderr);
  });

  await t.test('commands that need the hub fail with an explanation while it is away', async () => {
    await hub.stop('SIGKILL');
    await until('the hub to be reported as away', async () => (await laptop.status()).hub.state === 'away');
    refused(laptop.lametun('invite'), /not connected to the hub/);
    refused(laptop.lametun('share', '198.51.100.32/28'), /not connected to the hub/);
    refused(laptop.lametun('leave'), /cannot tell the hub.*--force/);
    refused(office.lametun('nodes'), /no lametun is running on .*: run `lametun up/);
  });

  await t.test('a node that leaves is forgotten by the hub and by itself', async () => {
    const again = office.start('up');
    await again.says(/office\.home\.lametun is up/);
    await until(
      'laptop to reconnect to the hub',
      async () => (await laptop.status()).hub.state === 'connected',
    );
    assert.deepEqual(json(laptop, 'leave'), { told: true });
    for (const file of ['node.json', 'node.key', 'map.json', 'endpoints.json', 'control.sock'])
      await until(`${file} to go`, () => !existsSync(path(laptop.state, file)));
    assert.equal(json(office, 'nodes').nodes.length, 1);
    assert.notEqual(laptop.run('ip', 'link', 'show', 'lametun0').status, 0);
    assert.equal(await again.stop(), 0, again.stderr);
  });
});

test('a backup made while the hub runs restores the hub with all its nodes', async (t) => {
  if (!needs(t, 'netns', 'tun', 'nft', 'ping')) return;
  const lab = new NetworkLab(t);
  const hub = lab.site('hub').machine;
  const one = lab.site('one').machine;
  const two = lab.site('two', { access: 'easy', gateway: true, lan: 9 }).machine;
  const keep = `${hub.state}-keep`;
  const offers = (): unknown[] =>
    json(hub, 'nodes').nodes.find(({ name }: { name: string }) => name === 'two').offered;
  const started = hub.start('hub', '--network', 'home');
  await started.says(/is up/);
  for (const machine of [one, two]) await join(machine, invite(hub)).says(/is up/);
  await until('a reply', () => one.pings('two.home.lametun'));
  const addresses = async () =>
    [(await one.status()).self.ipv4, (await two.status()).self.ipv4] as readonly unknown[];
  const before = await addresses();
  hub.run('mkdir', '-p', keep);
  assert.match(
    said(hub.lametun('backup', `${keep}/network.json`)),
    /^Wrote .*\/network\.json\. Keep it as safe/,
  );
  hub.run('cp', '-p', `${hub.state}/hub.key`, `${keep}/hub.key`);
  const mode = hub.run('stat', '-c', '%a', `${keep}/network.json`).stdout.trim();
  assert.equal(mode, '600', 'only the owner can read a backup');
  refused(hub.lametun('restore', `${keep}/network.json`), /in use by process \d+/);
  // A change after the backup.
  assert.equal(two.lametun('share', '192.168.9.0/24').status, 0);
  said(hub.lametun('approve', 'two'));
  assert.deepEqual(offers(), [{ network: '192.168.9.0/24', state: 'approved' }]);

  await started.stop('SIGKILL');
  hub.run('rm', '-r', hub.state);
  hub.run('install', '-d', '-m', '700', hub.state);
  hub.run('cp', '-p', `${keep}/hub.key`, hub.state);
  refused(hub.lametun('restore', `${keep}/nothing.json`), /nothing\.json/, 2);
  assert.equal(said(hub.lametun('restore', `${keep}/network.json`)), 'Restored network home with 2 nodes\n');
  const again = hub.start('hub');
  await again.says(/The hub of home is up/);
  for (const machine of [one, two])
    await until(
      `${machine.name} to reconnect`,
      async () => (await machine.status()).hub.state === 'connected',
    );
  assert.deepEqual(await addresses(), before);
  await one.reaches('two.home.lametun');
  await until("two's share to be offered again", () => offers().length > 0);
  assert.deepEqual(offers(), [{ network: '192.168.9.0/24', state: 'pending' }]);
  await until('two to learn of it', async () => (await two.status()).shares[0]?.state === 'pending');
  const three = lab.site('three').machine;
  await join(three, invite(hub)).says(/is up/);
  await until('a reply to the new node', () => three.pings('one.home.lametun'));
  assert.ok(!before.includes((await three.status()).self.ipv4));
});

import assert from 'node:assert/strict';
import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join as joinPath } from 'node:path';
import { test } from 'node:test';
import { MAIN } from '../kit/lametun.js';
import { type Machine, NetworkLab } from '../kit/network-lab.js';
import { needs } from '../kit/requirements.js';
import { until } from '../kit/wait.js';
import { hubAlone, invite, join, serve } from './join.js';

/** By when a node finds its hub; its longest pause is 30 s. Milliseconds. */
const FOUND = 120_000;

const isConnected = async (machine: Machine): Promise<boolean> =>
  (await machine.status()).hub.state === 'connected';
const hosts = (machine: Machine): string[] =>
  JSON.parse(readFileSync(joinPath(machine.state, 'node.json'), 'utf8')).hub.addresses.map(
    ({ host }: { host: string }) => host,
  );

test('members keep their identity when a hub serves another network with the same key', async (t) => {
  if (!needs(t, 'netns', 'tun', 'nft')) return;
  const lab = new NetworkLab(t);
  const [hub, anna] = ['hub', 'anna'].map((name) => lab.site(name).machine) as [Machine, Machine];
  const first = await hubAlone(hub);
  const node = join(anna, invite(hub));
  await node.says(/is up/);
  const identity = ['node.key', 'node.json'].map((name) => joinPath(anna.state, name));
  const [key] = identity.map((path) => readFileSync(path, 'utf8'));
  await first.stop();

  await t.test('the hub does not start by mistake', () => {
    const typo = hub.lametun('hub', '--database', joinPath(hub.state, 'typo.sqlite'));
    assert.equal(typo.status, 1);
    assert.match(typo.stderr, /typo.sqlite contains no network: run `lametun restore BACKUP` first/);
    assert.ok(!readdirSync(hub.state).includes('typo.sqlite'));
  });

  // Only a key without a network name makes it start, as an attacker would forge it.
  const other = joinPath(hub.state, 'other');
  mkdirSync(other, { mode: 0o700 });
  const [bare] = readFileSync(joinPath(hub.state, 'hub.key'), 'utf8').split('\n');
  writeFileSync(joinPath(other, 'hub.key'), `${bare}\n`, { mode: 0o600 });
  const lying = hub.spawn(process.execPath, MAIN, 'hub', '--state', other);
  await lying.says(/is up/);
  await t.test('members keep everything, warn, and return to their own network', async () => {
    await until('a refusal', async () => (await anna.status()).hub.state === 'refused', FOUND);
    const { why } = (await anna.status()).hub;
    assert.match(why!, /this hub serves another network/);
    assert.match(node.stderr, /this hub serves another network/);
    assert.equal(readFileSync(identity[0]!, 'utf8'), key);
    assert.ok(existsSync(identity[1]!));
    await lying.stop();
    const again = hub.start('up');
    await again.says(/is up/);
    await until('anna to connect', () => isConnected(anna), FOUND);
  });

  await t.test('a removed node keeps its key in another folder', async () => {
    assert.equal(hub.lametun('remove', 'anna').status, 0);
    await node.ended;
    assert.match(
      node.stderr,
      /was removed from the network home; its key and its state are kept in .*\/removed-/,
    );
    const [aside] = readdirSync(anna.state).filter((name) => name.startsWith('removed-'));
    assert.equal(readFileSync(joinPath(anna.state, aside!, 'node.key'), 'utf8'), key);
    assert.ok(!identity.some(existsSync));
  });
});

test('a hub runs without a node on its machine, and is found at addresses that are not in the token', async (t) => {
  if (!needs(t, 'netns', 'tun', 'nft', 'ping')) return;
  const lab = new NetworkLab(t);
  const { machine: hub, public4 } = lab.site('office', { families: 'ipv4' });
  const anna = lab.site('anna', { families: 'ipv4' }).machine;
  const { hub: running, token } = await serve(hub);
  let node = join(anna, token);
  await node.says(/is up/);

  await t.test('removing its own node requires --force, and the hub keeps running', async () => {
    const slip = hub.lametun('remove', 'office');
    assert.equal(slip.status, 2);
    assert.match(slip.stderr, /office is the node on the hub's own machine.*--force/);
    assert.equal(hub.lametun('remove', 'office', '--force').status, 0);
    await running.says(/was removed from the network home.*; the hub keeps running/);
    const nodes = JSON.parse(hub.lametun('nodes', '--json').stdout).nodes as { name: string }[];
    assert.deepEqual(
      nodes.map(({ name }) => name),
      ['anna'],
    );
    assert.ok(await isConnected(anna));
  });

  const at = (offset: number): string => public4.replace(/\d+$/, (last) => String(Number(last) + offset));
  const moveTo = (from: string, to: string): void => {
    const ip = (...args: readonly string[]): void => void hub.namespace.run('ip', args);
    ip('addr', 'del', `${from}/28`, 'dev', 'wan'); // also removes its secondary addresses
    ip('addr', 'replace', `${to}/28`, 'dev', 'wan');
    ip('route', 'replace', 'default', 'via', at(-6));
  };
  /** Closes anna's connection; she would take up to 30 s to notice that it is dead. */
  const endConnection = (): void => void anna.run('ss', '-K', 'dport', '=', ':443');

  await t.test('members learn of an address that a running hub gets', async () => {
    hub.namespace.run('ip', ['addr', 'add', `${at(1)}/28`, 'dev', 'wan']);
    await until('anna to learn of it', () => hosts(anna).includes(at(1)), FOUND);
    moveTo(public4, at(1));
    endConnection();
    await until(
      'anna to find the hub there',
      async () => (await anna.status()).hub.address === `${at(1)}:443`,
      FOUND,
    );
  });

  await t.test('a new token tells a running member where the hub has moved', async () => {
    moveTo(at(1), at(2));
    const { status, stdout, stderr } = anna.lametun('join', invite(hub));
    assert.equal(status, 0, stderr);
    assert.match(stdout, /anna of network home is running, and now looks for its hub at /);
    endConnection();
    await until(
      'anna to find the hub there',
      async () => (await anna.status()).hub.address === `${at(2)}:443`,
      FOUND,
    );
  });

  await t.test('a new token tells a stopped member too', async () => {
    await node.stop();
    moveTo(at(2), at(3));
    node = join(anna, invite(hub));
    await node.says(/is up/);
    await until('anna to find the hub there', () => isConnected(anna), FOUND);
    assert.equal((await anna.status()).hub.address, `${at(3)}:443`);
  });

  await t.test('a token of another hub changes nothing', async () => {
    const other = lab.site('other', { families: 'ipv4' }).machine;
    await hubAlone(other);
    const { status, stderr } = anna.lametun('join', invite(other));
    assert.equal(status, 2, stderr);
    assert.match(
      stderr,
      /this machine is already node anna of network home, and the token is for another network/,
    );
    assert.ok(await isConnected(anna));
  });

  await t.test('another network starts only on request', async () => {
    const before = readFileSync(joinPath(hub.state, 'hub.key'), 'utf8');
    await running.stop();
    const again = hub.start('serve', '--name', 'office', '--new-network');
    await again.says(/the old one is kept in .*\/replaced-/);
    await again.says(/is up/);
    const [aside] = readdirSync(hub.state).filter((name) => name.startsWith('replaced-'));
    assert.equal(readFileSync(joinPath(hub.state, aside!, 'hub.key'), 'utf8'), before);
    assert.notEqual(readFileSync(joinPath(hub.state, 'hub.key'), 'utf8'), before);
    await again.stop();
    copyFileSync(joinPath(hub.state, aside!, 'hub.key'), joinPath(hub.state, 'hub.key'));
    const mixed = hub.lametun('up');
    assert.equal(mixed.status, 1);
    assert.match(mixed.stderr, /contains another network, home: correct --database or --key/);
  });
});

import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';
import { NetworkLab } from '../kit/network-lab.js';
import { Postgres } from '../kit/postgres.js';
import { needs } from '../kit/requirements.js';
import { until } from '../kit/wait.js';
import { invite, join } from './join.js';

/** Forwards a port on the hub's loopback to PostgreSQL, which listens on the loopback of the test's namespace. */
const FORWARD = `const net = require('net');
  net.createServer((from) => {
    const to = net.connect(process.argv[1]);
    for (const [a, b] of [[from, to], [to, from]]) { a.on('error', () => b.destroy()); a.pipe(b); }
  }).listen(5432, '127.0.0.1', () => console.log('ready'))`;

test('nodes join a hub while its PostgreSQL is stopped and started', async (t) => {
  if (!needs(t, 'netns', 'tun', 'nft', 'ping', 'postgres')) return;
  const postgres = await Postgres.start();
  t.after(() => postgres.close());
  await postgres.query('create database network');
  const lab = new NetworkLab(t);
  const hub = lab.site('hub').machine;
  await hub.spawn(process.execPath, '-e', FORWARD, postgres.socket).says(/ready/);
  mkdirSync(hub.state, { mode: 0o700, recursive: true });
  const file = `${hub.state}-database`;
  writeFileSync(file, 'postgres://postgres:very-secret@127.0.0.1/network\n', { mode: 0o600 });
  const running = hub.start('hub', '--network', 'home', '--database-file', file);
  await running.says(/The hub of home is up/);
  assert.equal(running.stderr, '');
  assert.doesNotMatch(readFileSync(`/proc/${running.pid}/cmdline`, 'utf8'), /very-secret/);
  rmSync(file); // `up` does not need the file
  const one = lab.site('one').machine;
  await join(one, invite(hub)).says(/one\.home\.lametun is up/);
  const token = invite(hub, '--reusable');

  await t.test('while the database is away the hub reports it, and a join waits', async () => {
    postgres.down('immediate');
    const refused = hub.lametun('invite');
    assert.equal(refused.status, 1);
    assert.match(refused.stderr, /^lametun: [^\n]*database[^\n]*\n$/);
    const two = lab.site('two').machine;
    const joining = join(two, token);
    const toHub = ['-Htn', 'state', 'established', 'dport', '=', ':443'] as const;
    await until('two to connect to the hub', () => two.run('ss', ...toHub).stdout !== '');
    await postgres.up();
    await joining.says(/is up/);
    await until('a reply', () => two.pings('one.home.lametun'));
  });

  await t.test(
    'acknowledged changes survive a database killed during a join, and a new hub process',
    async () => {
      const three = lab.site('three').machine;
      const joining = join(three, token);
      await postgres.restart('immediate');
      await joining.says(/is up/);
      await running.stop('SIGKILL');
      const again = hub.start('up');
      await again.says(/The hub of home is up/);
      const { nodes } = JSON.parse(hub.lametun('nodes', '--json').stdout) as {
        nodes: { name: string; ipv4: string }[];
      };
      assert.deepEqual(nodes.map(({ name }) => name).sort(), ['one', 'three', 'two']);
      assert.equal(new Set(nodes.map(({ ipv4 }) => ipv4)).size, 3);
      for (const machine of [one, three])
        assert.equal(
          nodes.find(({ name }) => name === machine.name)!.ipv4,
          (await machine.status()).self.ipv4,
        );
      assert.ok(!running.stderr.includes('    at '), running.stderr);
      await until('one to reconnect', async () => (await one.status()).hub.state === 'connected');
    },
  );
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Machine, NetworkLab } from '../kit/network-lab.js';
import { needs } from '../kit/requirements.js';
import { until } from '../kit/wait.js';
import { invite, join, serve } from './join.js';

/** A web server that answers with the client's address. */
const SERVER = `require('http').createServer((request, response) =>
  response.end('hello ' + request.socket.remoteAddress)).listen(80, '::', () => console.log('ready'))`;

const CLIENT = `fetch(process.argv[1], { signal: AbortSignal.timeout(2000) })
  .then((answer) => answer.text()).then((text) => console.log(text), () => process.exit(1))`;

const get = (machine: Machine, url: string): string | undefined => {
  const { status, stdout } = machine.run(process.execPath, '-e', CLIENT, url);
  return status === 0 ? stdout.trim() : undefined;
};

test('home and office: one command on each gateway, and hosts behind them without lametun speak HTTP', async (t) => {
  if (!needs(t, 'netns', 'tun', 'nft', 'ping')) return;
  const lab = new NetworkLab(t);
  const office = lab.site('office', { access: 'easy', gateway: true, lan: 50 });
  const home = lab.site('home', { access: 'easy', gateway: true, lan: 1 });
  // The office's router forwards the hub's port, as an administrator would configure it.
  office.machine.run(
    'nft',
    'insert',
    'rule',
    'inet',
    'router',
    'input',
    'meta',
    'l4proto',
    '{',
    'tcp,',
    'udp',
    '}',
    'th',
    'dport',
    '443',
    'accept',
  );
  for (const site of [office, home]) await site.host!.spawn(process.execPath, '-e', SERVER).says(/ready/);
  const fromHome = (): string | undefined => get(home.host!, 'http://192.168.50.23/');
  const fromOffice = (): string | undefined => get(office.host!, 'http://192.168.1.23/');
  assert.equal(fromHome(), undefined, 'not reachable before');
  assert.equal(fromOffice(), undefined, 'nor in reverse');

  const { hub } = await serve(office.machine, '--share', '192.168.50.0/24');
  const invited = office.machine.lametun('invite', '--json', '--share', '192.168.1.0/24');
  const { token } = JSON.parse(invited.stdout) as { token: string };
  const joined = join(home.machine, token, '--share', '192.168.1.0/24');
  await joined.says(/is up/);
  assert.match(await until('a reply from the office', fromHome), /^hello /);
  assert.match(await until('a reply from home', fromOffice), /^hello /);

  await t.test(
    'a node elsewhere does not try to reach the gateway at an address behind the gateway',
    async () => {
      const cafe = lab.site('cafe', { access: 'hard', lan: 9, blocked: 'udp' });
      const joining = join(cafe.machine, invite(office.machine));
      await joining.says(/is up/);
      await until('a reply from the home host', () => cafe.machine.pings('192.168.1.23') || undefined);
      cafe.machine.run('ping', '-c30', '-i0.1', '192.168.1.23');
      const { peers } = await cafe.machine.status();
      const gateway = peers.find(({ name }) => name === 'home')!;
      assert.equal(gateway.path.kind, 'relayed');
      assert.ok(gateway.sent < 100_000, `${gateway.sent} bytes sent in a loop`);
      await joining.stop();
    },
  );

  await t.test('when the gateways stop, the routes are gone and nothing is left behind', async () => {
    assert.equal(await joined.stop(), 0, joined.stderr);
    assert.equal(await hub.stop(), 0, hub.stderr);
    assert.equal(fromHome(), undefined);
    for (const { machine } of [office, home]) {
      assert.doesNotMatch(machine.run('nft', 'list', 'tables').stdout, /lametun/);
      assert.doesNotMatch(machine.run('ip', 'route').stdout, /lametun/);
    }
  });
});

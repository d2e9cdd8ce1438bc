import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Machine, NetworkLab } from '../kit/network-lab.js';
import { needs } from '../kit/requirements.js';
import { until } from '../kit/wait.js';
import { hubAlone, invite, join } from './join.js';

/** The largest packet that fits the network's MTU, with Don't Fragment set. */
const FULL4 = ['-M', 'do', '-s', String(1280 - 28)];
const FULL6 = ['-M', 'do', '-s', String(1280 - 48)];

async function peer(machine: Machine) {
  const { peers } = await machine.status();
  return peers[0]!;
}

test('full-size packets cross a link with an unannounced MTU of 1300 bytes on a direct path', async (t) => {
  if (!needs(t, 'netns', 'tun', 'nft', 'ping')) return;
  const lab = new NetworkLab(t);
  const families = 'ipv4';
  const hub = lab.site('hub', { families }).machine;
  const home = lab.site('home', { access: 'easy', families, narrow: 1300, lan: 3 }).machine;
  const office = lab.site('office', { access: 'easy', families, lan: 4 }).machine;
  await hubAlone(hub);
  for (const machine of [home, office]) await join(machine, invite(hub)).says(/is up/);
  const { ipv4, ipv6 } = await until('home to learn of office', () => peer(home));
  await home.reaches(ipv4, ...FULL4);
  await home.reaches(ipv6, ...FULL6);
  await until('a direct path', async () => {
    assert.ok(home.pings(ipv4, 1, ...FULL4), 'while the direct path is sought');
    return (await peer(home)).path.kind === 'direct';
  });
  await home.reaches(ipv4, ...FULL4);
  assert.equal((await home.status()).relay.via, 'udp');
});

test('over IPv6, where routers do not fragment, they pass through the WebSocket', async (t) => {
  if (!needs(t, 'netns', 'tun', 'nft', 'ping')) return;
  const lab = new NetworkLab(t);
  const families = 'ipv6';
  const hub = lab.site('hub', { families }).machine;
  const home = lab.site('home', { access: 'easy', families, narrow: 1280, lan: 3 }).machine;
  const office = lab.site('office', { access: 'easy', families, lan: 4 }).machine;
  await hubAlone(hub);
  for (const machine of [home, office]) await join(machine, invite(hub)).says(/is up/);
  const { ipv4 } = await until('home to learn of office', () => peer(home));
  await home.reaches(ipv4, ...FULL4);
  await until('UDP to the relay to fail', async () =>
    /packets of full size do not/.test((await home.status()).relay.why),
  );
  await home.reaches(ipv4, ...FULL4);
  await office.reaches((await peer(office)).ipv4, ...FULL4);
  const { via, why } = (await home.status()).relay;
  assert.equal(via, 'websocket', why);
  await until('the office to use UDP', async () => (await office.status()).relay.via === 'udp');
  await home.reaches(ipv4, ...FULL4);
  assert.match((await peer(home)).path.kind, /relayed/);
});

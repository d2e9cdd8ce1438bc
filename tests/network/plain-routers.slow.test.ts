import { test } from 'node:test';
import { NetworkLab } from '../kit/network-lab.js';
import { needs } from '../kit/requirements.js';
import { until } from '../kit/wait.js';
import { hubAlone, invite, join, statusOf } from './join.js';

for (const access of ['plain', 'easy'] as const) {
  test(`a node behind the plainest Linux router and one behind ${access === 'plain' ? 'another' : 'an ordinary one'} reach each other directly`, async (t) => {
    if (!needs(t, 'netns', 'tun', 'nft', 'ping')) return;
    const lab = new NetworkLab(t);
    const families = 'ipv4';
    const hub = lab.site('hub', { families }).machine;
    const home = lab.site('home', { access: 'plain', families, lan: 3 }).machine;
    const office = lab.site('office', { access, families, lan: 4 }).machine;
    await hubAlone(hub);
    for (const machine of [home, office]) await join(machine, invite(hub)).says(/is up/);
    const peer = async () => (await statusOf(home)).peers[0]!;
    const { ipv4 } = await until('home to know office', peer);
    await home.reaches(ipv4);
    const began = performance.now();
    // Where a lost packet spoils the first tries, a router remembers a stranger: pauses of 35 and 60 s follow.
    const isDirect = async () => home.pings(ipv4) && (await peer()).path.kind === 'direct';
    await until('a direct path', isDirect, 360_000);
    t.diagnostic(`direct after ${Math.round(performance.now() - began)} ms`);
  });
}

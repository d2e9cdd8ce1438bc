import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { NetworkLab, RESOLV_CONF } from '../kit/network-lab.js';
import { needs } from '../kit/requirements.js';
import { until } from '../kit/wait.js';
import { firstAnswer, join, serve } from './join.js';

test('after one command on each of two machines, they reach each other by name', async (t) => {
  if (!needs(t, 'netns', 'tun', 'nft', 'ping')) return;
  const lab = new NetworkLab(t);
  const office = lab.site('office').machine;
  const laptop = lab.site('laptop', { access: 'easy' }).machine;
  const { hub, token } = await serve(office);
  const running = join(laptop, token);
  await firstAnswer(t, laptop, () => running, 'office.home.lametun');
  await office.reaches('laptop.home.lametun'); // and in reverse
  await office.reaches('laptop.home.lametun', '-6');

  await t.test('each knows the other, and its path', async () => {
    await until('a direct path', async () => (await laptop.status()).peers[0]!.path.kind === 'direct');
    // Whichever address answered first.
    const { stdout } = laptop.lametun('status');
    assert.match(stdout, /office .*direct (198\.51\.100\.7|\[2001:db8:51::7\]):\d+/);
    await until('a reply with its round-trip time', () =>
      /^office \(\S+\) 1: [\d.]+ ms, direct/m.test(laptop.lametun('ping', 'office', '--count', '2').stdout),
    );
  });

  await t.test('changes to the machine are undone at the end', async () => {
    assert.notEqual(readFileSync(laptop.resolvConf, 'utf8'), RESOLV_CONF);
    assert.equal(await running.stop(), 0, running.stderr);
    assert.equal(readFileSync(laptop.resolvConf, 'utf8'), RESOLV_CONF);
    assert.equal(laptop.run('ip', 'link', 'show', 'lametun0').status, 1);
    assert.equal(await hub.stop(), 0, hub.stderr);
    assert.equal(readFileSync(office.resolvConf, 'utf8'), RESOLV_CONF);
  });
});

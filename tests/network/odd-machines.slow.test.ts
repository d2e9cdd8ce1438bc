import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MAIN } from '../../src/testkit/lametun.js';
import { type Machine, NetworkLab } from '../../src/testkit/network-lab.js';
import { needs } from '../../src/testkit/requirements.js';
import type { Running } from '../../src/testkit/running.js';
import { until } from '../../src/testkit/wait.js';
import { hubAlone, invite, join } from './join.js';

/** What a machine lacks does not keep it from being a node: it works without, or says what to do. */

/** Programs as they are, but one: the folders that are searched are replaced by folders of links. */
const WITHOUT_NFT = `set -e
  mkdir -p /tmp/sbin-real /tmp/sbin-less
  mount -t tmpfs none /tmp/sbin-real && mkdir /tmp/sbin-real/sbin /tmp/sbin-real/less
  mount --bind /usr/sbin /tmp/sbin-real/sbin
  for program in /usr/sbin/*; do ln -s "/tmp/sbin-real/sbin/\${program##*/}" /tmp/sbin-real/less/; done
  rm /tmp/sbin-real/less/nft
  mount --bind /tmp/sbin-real/less /usr/sbin
  exec "$0" "$@"`;

/** /etc/resolv.conf is a mount of its own in a namespace of \`ip netns\`. */
const READ_ONLY_ETC = `set -e
  mount --rbind /etc /etc
  mount -o remount,bind,ro /etc/resolv.conf
  mount -o remount,bind,ro /etc
  exec "$0" "$@"`;

const inMounts = (machine: Machine, script: string, ...args: readonly string[]): Running =>
  machine.spawn(
    ...(['unshare', '--mount', 'sh', '-c', script, process.execPath, MAIN] as const),
    ...[...args, '--name', machine.name, '--state', machine.state],
  );

test('machines that lack something', async (t) => {
  if (!needs(t, 'netns', 'tun', 'nft', 'ping', 'unshare')) return;
  const lab = new NetworkLab(t);
  const hub = lab.site('hub').machine;
  const whole = lab.site('whole').machine;
  await hubAlone(hub);
  await join(whole, invite(hub)).says(/is up/);
  const answers = (machine: Machine): Promise<unknown> =>
    until(`whole to answer ${machine.name}`, () => machine.pings(whole.status().self.ipv4));

  await t.test('without IPv6 there is IPv4, and a warning', async () => {
    const old = lab.site('old', { families: 'ipv4' }).machine;
    old.namespace.sysctl({ 'net.ipv6.conf.all.disable_ipv6': 1, 'net.ipv6.conf.default.disable_ipv6': 1 });
    const running = join(old, invite(hub));
    await running.says(/old\.home\.lametun is up/);
    await answers(old);
    const addresses = (): string => whole.run('getent', 'ahosts', 'old.home.lametun').stdout;
    await until('old to have no IPv6 address', () => addresses() !== '' && !addresses().includes(':'));
    await whole.reaches('old.home.lametun'); // by the address that a program takes by itself
    const ofWhole = (machine: Machine): Promise<string> =>
      until('an answer', () => machine.run('getent', 'ahosts', 'whole.home.lametun').stdout || undefined);
    assert.match(await ofWhole(whole), /:/, 'others have one');
    await old.reaches('whole.home.lametun');
    assert.doesNotMatch(await ofWhole(old), /:/);
    assert.match(old.status().warnings.join(), /no IPv6 inside the network here/);
    assert.equal(await running.stop(), 0, running.stderr);
  });

  await t.test('a hub without IPv6 serves those that have it', async () => {
    const [server, client] = [lab.site('server', { families: 'ipv4' }).machine, lab.site('client').machine];
    server.namespace.sysctl({ 'net.ipv6.conf.all.disable_ipv6': 1, 'net.ipv6.conf.default.disable_ipv6': 1 });
    const running = server.start('serve', '--network', 'work', '--name', 'server');
    await running.says(/server\.work\.lametun is up/);
    await join(client, invite(server)).says(/client\.work\.lametun is up/);
    await until('an answer', () => client.pings('server.work.lametun', 1));
    assert.equal(await running.stop(), 0, running.stderr);
  });

  await t.test('without nft a node works, and a share says what to install', async () => {
    const bare = lab.site('bare').machine;
    const running = inMounts(bare, WITHOUT_NFT, 'join', invite(hub));
    await running.says(/bare\.home\.lametun is up/);
    await answers(bare);
    assert.equal(await running.stop(), 0, running.stderr);

    const gateway = lab.site('gateway', { access: 'easy', gateway: true, lan: 9 }).machine;
    const token = invite(hub, '--share', '192.168.9.0/24');
    const sharing = inMounts(gateway, WITHOUT_NFT, 'join', token, '--share', '192.168.9.0/24');
    await sharing.says(/gateway\.home\.lametun is up/);
    await answers(gateway);
    assert.match(gateway.status().warnings.join(), /apt install nftables/);
    assert.equal(await sharing.stop(), 0, sharing.stderr);
  });

  await t.test('with a read-only /etc a node works without names, and says so', async () => {
    const sealed = lab.site('sealed').machine;
    const running = inMounts(sealed, READ_ONLY_ETC, 'join', invite(hub));
    await running.says(/sealed\.home\.lametun is up/);
    await answers(sealed);
    const { how, why } = sealed.status().names;
    assert.equal(how, 'none');
    assert.match(why, /resolv\.conf/);
    await whole.reaches('sealed.home.lametun'); // others find it by name
    assert.equal(await running.stop(), 0, running.stderr);
  });
});

import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';
import { MAIN } from '../kit/lametun.js';
import { type Machine, NetworkLab } from '../kit/network-lab.js';
import { needs } from '../kit/requirements.js';
import type { Running } from '../kit/running.js';
import { until } from '../kit/wait.js';
import { hubAlone, invite, join } from './join.js';

/** A node works on a machine that lacks something, or says what to do. */

/** Hides `nft`: replaces the folders in PATH with folders of links to every other program. */
const WITHOUT_NFT = `set -e
  mkdir -p /tmp/sbin-real /tmp/sbin-less
  mount -t tmpfs none /tmp/sbin-real && mkdir /tmp/sbin-real/sbin /tmp/sbin-real/less
  mount --bind /usr/sbin /tmp/sbin-real/sbin
  for program in /usr/sbin/*; do ln -s "/tmp/sbin-real/sbin/\${program##*/}" /tmp/sbin-real/less/; done
  rm /tmp/sbin-real/less/nft
  mount --bind /tmp/sbin-real/less /usr/sbin
  exec "$0" "$@"`;

/** In a namespace of `ip netns`, /etc/resolv.conf is a separate mount. */
const READ_ONLY_ETC = `set -e
  mount --rbind /etc /etc
  mount -o remount,bind,ro /etc/resolv.conf
  mount -o remount,bind,ro /etc
  exec "$0" "$@"`;

/** Replaces /etc with a folder that the test can reach, without a resolv.conf. */
const NO_RESOLV_CONF = (folder: string): string => `set -e
  umount /etc/resolv.conf
  mkdir ${folder} && cp -a /etc/. ${folder} && rm -f ${folder}/resolv.conf
  mount --bind ${folder} /etc
  exec "$0" "$@"`;

/** A name server that answers every question with one address. */
const NAME_SERVER = (address: string): string => `
  const socket = require('node:dgram').createSocket('udp4');
  socket.on('message', (query, { port, address }) => {
    const end = query.indexOf(0, 12) + 5; // of the question, RFC 1035 §4.1.2
    const isA = query[end - 3] === 1;
    const record = isA ? [0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, ${address.split('.').join()}] : [];
    const answer = Buffer.concat([query.subarray(0, end), Buffer.from(record)]);
    answer.set([0x81, 0x80, 0, 1, 0, isA ? 1 : 0, 0, 0, 0, 0], 2);
    socket.send(answer, port, address);
  });
  socket.bind(53, () => console.log('ready'));`;

const inMounts = (machine: Machine, script: string, ...args: readonly string[]): Running =>
  machine.spawn(
    ...(['unshare', '--mount', 'sh', '-c', script, process.execPath, MAIN] as const),
    ...[...args, '--state', machine.state],
  );

const joinInMounts = (machine: Machine, script: string, token: string, ...options: string[]): Running =>
  inMounts(machine, script, 'join', token, '--name', machine.name, ...options);

test('machines that lack something', async (t) => {
  if (!needs(t, 'netns', 'tun', 'nft', 'ping', 'unshare')) return;
  const lab = new NetworkLab(t);
  const hub = lab.site('hub').machine;
  const whole = lab.site('whole').machine;
  await hubAlone(hub);
  await join(whole, invite(hub)).says(/is up/);
  const answers = (machine: Machine): Promise<unknown> =>
    until(`whole to reply to ${machine.name}`, async () => machine.pings((await whole.status()).self.ipv4!));

  await t.test('a node without IPv6 uses IPv4, and warns', async () => {
    const old = lab.site('old', { families: 'ipv4' }).machine;
    old.namespace.sysctl({ 'net.ipv6.conf.all.disable_ipv6': 1, 'net.ipv6.conf.default.disable_ipv6': 1 });
    const running = join(old, invite(hub));
    await running.says(/old\.home\.lametun is up/);
    await answers(old);
    const addresses = (): string => whole.run('getent', 'ahosts', 'old.home.lametun').stdout;
    await until('old to have an IPv4 address only', () => addresses() !== '' && !addresses().includes(':'));
    await whole.reaches('old.home.lametun'); // by the address that programs prefer
    const ofWhole = (machine: Machine): Promise<string> =>
      until('the addresses', () => machine.run('getent', 'ahosts', 'whole.home.lametun').stdout || undefined);
    assert.match(await ofWhole(whole), /:/, 'other members have an IPv6 address');
    await old.reaches('whole.home.lametun');
    assert.doesNotMatch(await ofWhole(old), /:/);
    assert.match((await old.status()).warnings.join(), /no IPv6 inside the network/);
    assert.equal(await running.stop(), 0, running.stderr);
  });

  await t.test('a hub without IPv6 serves members that have it', async () => {
    const [server, client] = [lab.site('server', { families: 'ipv4' }).machine, lab.site('client').machine];
    server.namespace.sysctl({ 'net.ipv6.conf.all.disable_ipv6': 1, 'net.ipv6.conf.default.disable_ipv6': 1 });
    const running = server.start('serve', '--network', 'work', '--name', 'server');
    await running.says(/server\.work\.lametun is up/);
    await join(client, invite(server)).says(/client\.work\.lametun is up/);
    await until('a reply', () => client.pings('server.work.lametun', 1));
    assert.equal(await running.stop(), 0, running.stderr);
  });

  await t.test('without nft a node works, and a share names the package to install', async () => {
    const bare = lab.site('bare').machine;
    const running = joinInMounts(bare, WITHOUT_NFT, invite(hub));
    await running.says(/bare\.home\.lametun is up/);
    await answers(bare);
    assert.equal(await running.stop(), 0, running.stderr);

    const gateway = lab.site('gateway', { access: 'easy', gateway: true, lan: 9 }).machine;
    const token = invite(hub, '--share', '192.168.9.0/24');
    const sharing = joinInMounts(gateway, WITHOUT_NFT, token, '--share', '192.168.9.0/24');
    await sharing.says(/gateway\.home\.lametun is up/);
    await answers(gateway);
    assert.match((await gateway.status()).warnings.join(), /apt install nftables/);
    assert.equal(await sharing.stop(), 0, sharing.stderr);
  });

  await t.test('with a read-only /etc a node works without names, and warns', async () => {
    const sealed = lab.site('sealed').machine;
    const running = joinInMounts(sealed, READ_ONLY_ETC, invite(hub));
    await running.says(/sealed\.home\.lametun is up/);
    await answers(sealed);
    const { how, why } = (await sealed.status()).names;
    assert.equal(how, 'none');
    assert.match(why!, /resolv\.conf/);
    await whole.reaches('sealed.home.lametun'); // others still find it by name
    assert.equal(await running.stop(), 0, running.stderr);
  });
});

test('a hub and a node that boot without DNS come up, report it, and connect once DNS works', async (t) => {
  if (!needs(t, 'netns', 'tun', 'nft', 'ping', 'unshare')) return;
  const lab = new NetworkLab(t);
  const [hubSite, dnsSite] = [lab.site('hub'), lab.site('dns')];
  const [hub, node] = [hubSite.machine, lab.site('node').machine];
  const settings = `nameserver ${dnsSite.public4}\noptions timeout:1 attempts:1\n`;
  for (const machine of [hub, node]) writeFileSync(machine.resolvConf, settings);
  const nameServer = async (): Promise<Running> => {
    const started = dnsSite.machine.spawn(process.execPath, '-e', NAME_SERVER(hubSite.public4));
    await started.says(/ready/);
    return started;
  };
  const invitation = (): { token: string; warnings: readonly string[] } => {
    const { status, stdout, stderr } = hub.lametun('invite', '--json');
    assert.equal(status, 0, stderr);
    return JSON.parse(stdout);
  };
  let dns = await nameServer();
  const first = await hubAlone(hub, '--public', 'hub.example');
  const { token, warnings } = invitation();
  assert.deepEqual(warnings, []);
  const joined = join(node, token);
  await joined.says(/is up/);
  assert.equal(await joined.stop(), 0, joined.stderr);
  assert.equal(await first.stop(), 0, first.stderr);
  await dns.stop();

  const isConnected = async (): Promise<boolean> => (await node.status()).hub.state === 'connected';
  const comesUp = async (running: Running): Promise<Running> => {
    await running.says(/is up/);
    return running;
  };
  const isAway = async (): Promise<void> => {
    await until('status to name the failure', async () =>
      /hub\.example: (no such host name|the name server does not answer)/.test(
        (await node.status()).hub.why!,
      ),
    );
  };

  await t.test('with an unreachable name server', async () => {
    const hubAgain = await comesUp(hub.start('up'));
    await until('a warning', () => /cannot resolve --public hub\.example:/.test(hubAgain.stderr));
    assert.match(invitation().warnings.join(), /cannot resolve --public hub\.example/);
    const running = await comesUp(node.start('up'));
    await isAway();
    dns = await nameServer();
    await until('the node to find the hub', isConnected);
    assert.deepEqual(invitation().warnings, []);
    assert.equal(await running.stop(), 0, running.stderr);
    assert.equal(readFileSync(node.resolvConf, 'utf8'), settings);
  });

  await t.test('with an empty resolv.conf', async () => {
    writeFileSync(node.resolvConf, '');
    const running = await comesUp(node.start('up'));
    await isAway();
    writeFileSync(node.resolvConf, settings);
    await until('the node to find the hub', isConnected);
    assert.equal(await running.stop(), 0, running.stderr);
    assert.equal(readFileSync(node.resolvConf, 'utf8'), settings);
  });

  await t.test('without a resolv.conf', async () => {
    const etc = `${node.state}-etc`;
    const running = await comesUp(inMounts(node, NO_RESOLV_CONF(etc), 'up'));
    await isAway();
    assert.match(readFileSync(`${etc}/resolv.conf`, 'utf8'), /^nameserver 10\./m);
    writeFileSync(`${etc}/resolv.conf`, settings);
    await until('the node to find the hub', isConnected);
    assert.equal(await running.stop(), 0, running.stderr);
    assert.equal(readFileSync(`${etc}/resolv.conf`, 'utf8'), settings);
  });
});

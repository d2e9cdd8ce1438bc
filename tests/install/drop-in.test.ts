import assert from 'node:assert/strict';
import { test } from 'node:test';
import { needs } from '../kit/requirements.js';
import { until } from '../kit/wait.js';
import { installBlock } from './blocks.js';
import { Debian } from './debian.js';
import { giveCache, packageOf } from './npm.js';
import { OLDER } from './versions.js';

const ROOT = 'trixie-musl';

/** Where linuxserver's image waits for ever on a kernel without WireGuard. */
const CHECK = '/etc/s6-overlay/s6-rc.d/init-wireguard-module/run';

/** The rules of linuxserver's and wg-easy's default configurations. */
const RULES = `PostUp = iptables -A FORWARD -i %i -j ACCEPT; iptables -A FORWARD -o %i -j ACCEPT; iptables -t nat -A POSTROUTING -o eth+ -j MASQUERADE
PostDown = iptables -D FORWARD -i %i -j ACCEPT; iptables -D FORWARD -o %i -j ACCEPT; iptables -t nat -D POSTROUTING -o eth+ -j MASQUERADE`;

/** wg-easy names the interface, linuxserver the file. */
const IMAGES = [
  { block: 'wg-easy', folder: '/etc/wireguard', interface: 'wg0' },
  { block: 'linuxserver', folder: '/config/wg_confs', interface: '/config/wg_confs/wg0.conf' },
] as const;

for (const { block, folder, interface: named } of IMAGES) {
  test(`in the image of ${block}, wg-quick starts lametund with a Node.js for musl`, async (t) => {
    if (!needs(t, 'root', 'tun', 'systemd-nspawn', 'ip')) return;
    await using server = await Debian.boot('server', ROOT, 1);
    await using client = await Debian.boot('client', ROOT, 2);
    const script = commandsOf(installBlock(block));
    for (const machine of [server, client]) {
      giveCache(machine);
      machine.copy(packageOf(OLDER));
      machine.run('sh', '-c', `mkdir -p $(dirname ${CHECK}) ${folder}; echo 'sleep infinity' > ${CHECK}`);
      if (folder !== '/etc/wireguard')
        machine.run('sh', '-c', `rm -rf /etc/wireguard; ln -s ${folder} /etc/wireguard`);
      machine.runBlock(script);
      if (block === 'linuxserver') machine.run('timeout', '10', 'sh', CHECK);
    }
    const keys = [server, client].map((machine) => machine.run('wg', 'genkey').trim());
    const [serverKey, clientKey] = keys.map((key) =>
      client.run('sh', '-c', `echo ${key} | wg pubkey`).trim(),
    );
    configure(server, `${folder}/wg0.conf`, [
      `[Interface]\nAddress = 10.13.13.1/24\nListenPort = 51820\nPrivateKey = ${keys[0]}\n${RULES}`,
      `[Peer]\nPublicKey = ${clientKey}\nAllowedIPs = 10.13.13.2/32`,
    ]);
    configure(client, `${folder}/wg0.conf`, [
      `[Interface]\nAddress = 10.13.13.2/24\nPrivateKey = ${keys[1]}`,
      `[Peer]\nPublicKey = ${serverKey}\nEndpoint = 192.0.2.1:51820\nAllowedIPs = 10.13.13.0/24`,
    ]);
    const before = rules(server);
    const environment = /^ENV (.*)$/m.exec(installBlock(block))![1]!;
    const quick = (machine: Debian, word: string): string =>
      machine.run('env', environment, 'wg-quick', word, named);
    for (const machine of [server, client]) quick(machine, 'up');
    const ping = (): boolean => client.try('ping', '-c', '1', '-W', '1', '10.13.13.1').status === 0;
    await until('the server to answer', ping);
    assert.match(server.run('wg', 'show', 'wg0'), /latest handshake[\s\S]*transfer: [1-9]/);
    assert.match(programs(server), /lametund/);
    assert.match(rules(server), /MASQUERADE/);

    for (const machine of [server, client]) quick(machine, 'down');
    await until('lametund to end', () => !programs(server).includes('lametund'));
    assert.equal(server.try('ip', 'link', 'show', 'wg0').status, 1);
    assert.equal(rules(server), before);
    assert.equal(server.run('find', '/run/wireguard', '-type', 's'), '');
  });
}

/** @returns what a Dockerfile does, for a machine that has Alpine's packages already */
function commandsOf(dockerfile: string): string {
  const steps = dockerfile.replaceAll('\\\n', '').trim().split('\n');
  return ['apk() { :; }', ...steps.map(commandOf)].join('\n');
}

function commandOf(step: string): string {
  const [, word, rest] = /^(\w+) (.*)$/.exec(step) ?? assert.fail(step);
  if (word === 'FROM' || word === 'ENV') return ':';
  if (word === 'COPY') return `cp ${rest}`;
  if (word === 'RUN') return rest!;
  return assert.fail(`unknown step ${word}`);
}

function configure(machine: Debian, file: string, parts: readonly string[]): void {
  machine.run('sh', '-c', `umask 077; printf '%s\\n' "$@" > ${file}`, 'sh', ...parts);
}

/** @returns the command lines of all processes */
const programs = (machine: Debian): string =>
  machine.run('sh', '-c', 'cat /proc/[0-9]*/cmdline 2>/dev/null || true');

/** @returns the firewall's rules */
const rules = (machine: Debian): string =>
  ['filter', 'nat'].map((table) => machine.run('iptables', '-t', table, '-S')).join('');

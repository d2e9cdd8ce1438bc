import assert from 'node:assert/strict';
import { test } from 'node:test';
import { needs } from '../kit/requirements.js';
import { until } from '../kit/wait.js';
import { Debian, debOf, SUITES } from './debian.js';
import { NEWER, OLDER } from './versions.js';

/** How long an upgrade may silence a network, seconds. */
const SILENCE = 2;
const STATE = '/var/lib/lametun';

for (const suite of SUITES) {
  test(`the Debian package on ${suite}: install, serve and join, reboot, upgrade, downgrade, remove, purge`, async (t) => {
    if (!needs(t, 'root', 'tun', 'systemd-nspawn', 'ip')) return;
    await using hub = await Debian.boot('office', suite, 1);
    await using node = await Debian.boot('home', suite, 2);
    const machines = [hub, node];
    const before = hub.files();

    for (const machine of machines) {
      for (const version of [OLDER, NEWER]) machine.copy(debOf(version));
      install(machine, OLDER);
      assert.equal(units(machine), '', 'nothing runs on a machine without a network');
    }
    const token = /^lametun join (lt1\w+)$/m.exec(
      hub.run('lametun', 'serve', '--name', 'office', '--install'),
    )?.[1];
    await until(
      'the hub to run under systemd',
      () => isActive(hub) && hub.try('lametun', 'nodes').status === 0,
    );
    node.run('lametun', 'join', token!, '--name', 'home', '--install');
    await reach(node);

    for (const machine of machines) await machine.reboot();
    await reach(node);

    for (const [machine, version, what] of [
      [hub, NEWER, 'upgrade of the hub'],
      [node, NEWER, 'upgrade of the node'],
      [hub, OLDER, 'downgrade of the hub'],
    ] as const) {
      const started = machine.run('systemctl', 'show', '-P', 'ExecMainStartTimestampMonotonic', 'lametun');
      const gap = await silence(node, () => install(machine, version));
      t.diagnostic(`${suite}, ${what}: longest gap ${gap.toFixed(2)} s`);
      assert.ok(gap <= SILENCE, `the network was silent for ${gap} s`);
      const again = machine.run('systemctl', 'show', '-P', 'ExecMainStartTimestampMonotonic', 'lametun');
      assert.notEqual(again, started, 'the new version runs');
    }

    hub.run('apt-get', 'remove', '-y', 'lametun');
    assert.equal(units(hub), '');
    assert.equal(hub.try('ip', 'link', 'show', 'lametun0').status, 1);
    assert.equal(hub.try('nft', 'list', 'tables').stdout, '');
    install(hub, NEWER);
    hub.run('systemctl', 'start', 'lametun');
    await reach(node); // the machine is the same as before

    hub.run('apt-get', 'purge', '-y', 'lametun');
    const left = added(before, hub.files());
    assert.ok(left.includes(`${STATE}/node.key`));
    assert.deepEqual(
      left.filter((file) => !`${file}/`.startsWith(`${STATE}/`)),
      [],
    );

    install(hub, NEWER);
    hub.run('sh', '-c', 'echo lametun lametun/purge-state boolean true | debconf-set-selections');
    hub.run('apt-get', 'purge', '-y', 'lametun');
    assert.deepEqual(added(before, hub.files()), []);
    assert.equal(hub.try('systemctl', 'list-unit-files', '--no-legend', 'lametun*').stdout, '');
  });
}

function install(machine: Debian, version: string): void {
  machine.run('apt-get', 'install', '-y', '--allow-downgrades', `/root/lametun_${version}_amd64.deb`);
}

const units = (machine: Debian): string =>
  machine.run('systemctl', 'list-units', '--plain', '--no-legend', 'lametun*.service', 'lametund*.service');

const isActive = (machine: Debian): boolean =>
  machine.try('systemctl', 'is-active', 'lametun').stdout === 'active\n';

/** Until the hub is reached by its name. */
async function reach(node: Debian): Promise<void> {
  const ping = () => node.try('ping', '-c', '1', '-W', '1', 'office');
  await until('the hub to answer by name', () => ping().status === 0).catch((error: Error) => {
    const journal = node.run('journalctl', '-n', '20', '-u', 'lametun');
    throw new Error(`${error.message}: ${ping().stderr}\n${journal}`);
  });
}

/** @returns the longest time without an answer of the hub while something happens, seconds */
async function silence(node: Debian, happens: () => void): Promise<number> {
  const output = await node.during(['ping', '-D', '-n', '-i', '0.05', 'office'], async () => {
    happens();
    await reach(node);
  });
  const times = [...output.matchAll(/^\[([\d.]+)\] \d+ bytes/gm)].map((match) => Number(match[1]));
  assert.ok(times.length > 10, 'the hub answered');
  return Math.max(...times.slice(1).map((time, i) => time - times[i]!));
}

const added = (before: readonly string[], after: readonly string[]): readonly string[] =>
  after.filter((file) => !before.includes(file));

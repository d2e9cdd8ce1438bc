import assert from 'node:assert/strict';
import { test } from 'node:test';
import { needs } from '../kit/requirements.js';
import { Debian, SUITES } from './debian.js';
import { install, reach, SILENCE, upgrade } from './upgrade.js';
import { OLDER } from './versions.js';

const UNIT = 'lametund@wg0';

for (const suite of SUITES) {
  test(`lametund@wg0 on ${suite} keeps its device and configuration over an upgrade of the package`, async (t) => {
    if (!needs(t, 'root', 'tun', 'systemd-nspawn', 'ip')) return;
    await using office = await Debian.boot('office', suite, 1);
    await using home = await Debian.boot('home', suite, 2);
    for (const machine of [office, home]) {
      install(machine, OLDER);
      machine.run('systemctl', 'start', UNIT);
    }
    const publicKeys = [office, home].map((machine) =>
      machine.run('sh', '-c', 'wg genkey >/root/key; wg pubkey </root/key').trim(),
    );
    configure(office, '10.9.0.1/24', publicKeys[1]!, '10.9.0.2', '192.0.2.2');
    configure(home, '10.9.0.2/24', publicKeys[0]!, '10.9.0.1', '192.0.2.1');
    await reach(home, '10.9.0.1');

    const before = settings(office);
    const gaps = await upgrade(office, UNIT, home, '10.9.0.1');
    t.diagnostic(`${suite}, upgrade of lametund: longest silence ${gaps.join(', ')} s`);
    assert.ok(Math.min(...gaps) <= SILENCE);
    assert.equal(settings(office), before);

    office.run('apt-get', 'remove', '-y', 'lametun');
    assert.equal(office.try('ip', 'link', 'show', 'wg0').status, 1);
  });
}

function configure(machine: Debian, address: string, peer: string, allowed: string, endpoint: string): void {
  const own = ['listen-port', '51820', 'private-key', '/root/key'];
  const other = ['peer', peer, 'allowed-ips', `${allowed}/32`, 'endpoint', `${endpoint}:51820`];
  machine.run('wg', 'set', 'wg0', ...own, ...other);
  machine.run('ip', 'address', 'add', address, 'dev', 'wg0');
  machine.run('ip', 'link', 'set', 'wg0', 'up');
}

/** What wg and ip have set. */
const settings = (machine: Debian): string =>
  machine.run('wg', 'showconf', 'wg0') + machine.run('ip', '-oneline', 'address', 'show', 'wg0');

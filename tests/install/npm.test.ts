import assert from 'node:assert/strict';
import { test } from 'node:test';
import { needs } from '../kit/requirements.js';
import { until } from '../kit/wait.js';
import { installBlock } from './blocks.js';
import { Debian, type Root } from './debian.js';
import { giveCache, packageOf } from './npm.js';
import { NEWER, OLDER } from './versions.js';

/** What comes before the package on each root file system. */
const MACHINES: readonly { readonly root: Root; readonly first?: string }[] = [
  { root: 'bookworm-npm', first: 'npm-debian-12' },
  { root: 'trixie-npm' },
  { root: 'trixie-musl' },
];
const STATE = '/var/lib/lametun';
/** npm removes files, and not the folders that it made for them. */
const FOLDERS = ['lib/node_modules', 'share/man/man1', 'share/man/man8'].map((path) => `/usr/local/${path}`);
const DOWNLOAD = '/root/download';

for (const { root, first } of MACHINES) {
  test(`npm on ${root}: install, serve and join, wg, reboot, upgrade, remove`, async (t) => {
    if (!needs(t, 'root', 'tun', 'systemd-nspawn', 'ip')) return;
    await using hub = await Debian.boot('office', root, 1);
    await using node = await Debian.boot('home', root, 2);
    const machines = [hub, node];
    for (const machine of machines) {
      giveCache(machine);
      machine.run('mkdir', DOWNLOAD);
      if (first !== undefined) machine.runBlock(installBlock(first));
    }
    const before = hub.files();
    for (const machine of machines) {
      install(machine, OLDER);
      assert.equal(version(machine), `lametun ${OLDER}`);
    }
    assert.deepEqual(installScripts(hub), []);

    node.run('lametund', 'wg0');
    assert.match(node.run('wg', 'show', 'wg0'), /^interface: wg0$/m);
    node.run('ip', 'link', 'delete', 'wg0');

    const token = /^lametun join (lt1\w+)$/m.exec(
      hub.run('lametun', 'serve', '--name', 'office', '--install'),
    )?.[1];
    await until('the hub to run', () => hub.try('lametun', 'nodes').status === 0);
    node.run('lametun', 'join', token!, '--name', 'home', '--install');
    await reach(node);

    for (const machine of machines) await machine.reboot();
    await reach(node);

    for (const machine of machines) {
      const process = pid(machine);
      install(machine, NEWER);
      machine.runBlock(installBlock('npm-upgrade'));
      assert.notEqual(pid(machine), process, 'the new version runs');
      assert.equal(version(machine), `lametun ${NEWER}`);
    }
    await reach(node);

    hub.runBlock(installBlock('npm-remove'));
    assert.equal(hub.try('ip', 'link', 'show', 'lametun0').status, 1);
    assert.equal(hub.try('nft', 'list', 'tables').stdout, '');
    const left = hub.files().filter((file) => !before.includes(file));
    assert.ok(left.includes(`${STATE}/node.key`));
    assert.deepEqual(
      left.filter((file) => !`${file}/`.startsWith(`${STATE}/`) && !FOLDERS.includes(file)),
      [],
    );
  });
}

/** Installs a downloaded version, without a warning. */
function install(machine: Debian, version: string): void {
  machine.run('sh', '-c', `rm -f ${DOWNLOAD}/*`);
  machine.copy(packageOf(version), DOWNLOAD);
  const printed = machine.runBlock(`exec 2>&1\n${installBlock('npm')}`, DOWNLOAD);
  assert.match(printed, /(added|changed) \d+ package/);
  assert.doesNotMatch(printed, /warn|deprecated|error/i);
}

const version = (machine: Debian): string => machine.run('lametun', '--version').trim();

const pid = (machine: Debian): string => machine.run('systemctl', 'show', '-P', 'MainPID', 'lametun');

/** @returns the installed packages that run a script when they are installed */
function installScripts(machine: Debian): readonly string[] {
  const folder = `${machine.run('npm', 'root', '--global').trim()}/lametun`;
  const manifests = machine.run('find', folder, '-path', '*/node_modules/*', '-name', 'package.json');
  const files = [`${folder}/package.json`, ...manifests.trim().split('\n')];
  assert.ok(files.length > 10);
  return files.filter((file) => {
    const { scripts = {} } = JSON.parse(machine.run('cat', file)) as { scripts?: Record<string, string> };
    return ['preinstall', 'install', 'postinstall'].some((name) => scripts[name] !== undefined);
  });
}

/** Until the hub is reached by its name. */
const reach = (node: Debian): Promise<unknown> =>
  until('the hub to answer by name', () => node.try('ping', '-c', '1', '-W', '1', 'office').status === 0);

import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { call, declare } from '../../src/linux/ffi/libc.js';
import { needs } from '../kit/requirements.js';
import { until } from '../kit/wait.js';
import { Debian, debOf, SUITES } from './debian.js';
import { NEWER, OLDER } from './versions.js';

const MOST_EXPOSED = 2.0;

for (const [i, suite] of SUITES.entries()) {
  test(`the service of a WireGuard interface on ${suite}`, async (t) => {
    if (!needs(t, 'root', 'tun', 'systemd-nspawn', 'ip')) return;
    await using machine = await Debian.boot(`gateway-${suite}`, suite, 10 + i);
    install(machine, OLDER);
    const unit = 'lametund@wg0';
    machine.run('systemctl', 'start', unit);
    assert.equal(property(machine, unit, 'ActiveState'), 'active');
    machine.run('sh', '-c', CONFIGURE);
    assert.match(property(machine, unit, 'StatusText'), /^wg0: 1 peer, UDP port 51820$/);
    const before = interfaceOf(machine);
    assert.match(before, /10\.7\.0\.1\/24[\s\S]*PrivateKey[\s\S]*PresharedKey[\s\S]*192\.0\.2\.9:5/);

    await t.test(
      'a restart, a crash and an update keep keys, peers, addresses, routes and the index',
      async () => {
        machine.run('systemctl', 'restart', unit);
        assert.equal(interfaceOf(machine), before);
        machine.run('systemctl', 'kill', '--kill-whom=main', '--signal=SIGKILL', unit);
        await restarted(machine, unit, 1);
        assert.equal(interfaceOf(machine), before);
        const process = property(machine, unit, 'MainPID');
        install(machine, NEWER);
        assert.notEqual(property(machine, unit, 'MainPID'), process, 'the new version runs');
        assert.equal(interfaceOf(machine), before);
      },
    );

    await t.test('a process or a worker that hangs is killed, and the next one goes on', async () => {
      machine.run('mkdir', '-p', `/run/systemd/system/${unit}.service.d`);
      const short = `printf '[Service]\nWatchdogSec=2s\n' > /run/systemd/system/${unit}.service.d/short.conf`;
      machine.run('sh', '-c', short);
      machine.run('systemctl', 'daemon-reload');
      machine.run('systemctl', 'restart', unit);
      machine.run('systemctl', 'kill', '--kill-whom=main', '--signal=SIGSTOP', unit);
      await restarted(machine, unit, 1);
      assert.equal(interfaceOf(machine), before);
      const worker = await until('the worker to wait', () => threadInPoll('lametund\0-f\0wg0'));
      stopThread(worker);
      await until('the watchdog', () => {
        reap(worker);
        return property(machine, unit, 'NRestarts') === '2';
      });
      await restarted(machine, unit, 2);
      assert.equal(interfaceOf(machine), before);
      assert.match(machine.run('journalctl', '-u', unit), /Watchdog timeout[\s\S]*Watchdog timeout/);
    });

    await t.test('a stop gives up the interface and the keys', () => {
      machine.run('systemctl', 'stop', unit);
      assert.equal(machine.try('ip', 'link', 'show', 'wg0').status, 1);
      assert.equal(property(machine, unit, 'NFileDescriptorStore'), '0');
      machine.run('systemctl', 'start', unit);
      assert.equal(machine.run('wg', 'show', 'wg0', 'peers'), '');
      assert.equal(exposure(machine, unit) <= MOST_EXPOSED, true, `${exposure(machine, unit)}`);
    });
  });

  test(`the service of a hub and member that shares a network, on ${suite}`, async (t) => {
    if (!needs(t, 'root', 'tun', 'systemd-nspawn', 'ip')) return;
    await using machine = await Debian.boot(`office-${suite}`, suite, 20 + i);
    install(machine, NEWER);
    machine.run('mount', '-o', 'remount,bind,rw', '/proc/sys'); // systemd-nspawn's is read-only
    machine.run('sh', '-c', 'groupadd vpn; echo nameserver 192.0.2.53 > /etc/resolv.conf');
    machine.run(
      'sh',
      '-c',
      'ip link add lan type bridge; ip address add 192.168.50.1/24 dev lan; ip link set lan up',
    );
    const given = ['--share', '192.168.50.0/24', '--operators', 'vpn', '--network', 'home'];
    const said = machine.run('lametun', 'serve', '--name', 'office', '--install', ...given);
    assert.match(said, /^Enabled lametun\.service\. systemd runs it/m);

    await t.test('its status says who is connected, and it does everything in the sandbox', async () => {
      await until('the status', () => /hub connected/.test(property(machine, 'lametun', 'StatusText')));
      assert.match(
        property(machine, 'lametun', 'StatusText'),
        /^hub of home, port 443: 1 member, 1 online · office\.home /,
      );
      assert.match(machine.run('lametun', 'status'), /names +via resolv\.conf[\s\S]*192\.168\.50\.0\/24/);
      assert.match(machine.run('cat', '/etc/resolv.conf'), /Written by lametun/);
      assert.match(machine.run('nft', 'list', 'tables'), /lametun_lametun0/);
      const forwarding = () => machine.run('cat', '/proc/sys/net/ipv4/ip_forward') === '1\n';
      await until('forwarding', forwarding, 10_000);
      machine.run('sh', '-c', 'ls /run/lametun-operators/*.sock');
      machine.run('lametun', 'backup', '/root/backup.json');
      machine.run('test', '-s', '/root/backup.json');
      machine.run('ping', '-c', '1', 'office.home.lametun');
      assert.equal(exposure(machine, 'lametun') <= MOST_EXPOSED, true, `${exposure(machine, 'lametun')}`);
    });

    await t.test('the journal gets priorities, and no output elsewhere has them', () => {
      const lines = machine.run('journalctl', '-u', 'lametun', '-t', 'lametun', '-p', 'info', '-o', 'cat');
      assert.match(lines, /^office\.home\.lametun is up/m);
      assert.doesNotMatch(lines, /<\d>/);
      // A second process on the same state fails with one line.
      const busy = ['systemd-run', '--wait', '--collect', '--unit=busy', 'lametun', 'up'];
      assert.equal(machine.try(...busy).status, 1);
      const errors = machine.run('journalctl', '-u', 'busy', '-t', 'lametun', '-p', 'err', '-o', 'cat');
      assert.match(errors, /^lametun: .* is in use by process/m);
      assert.match(machine.try('lametun', 'up').stderr, /^lametun: /);
    });

    await t.test('another state directory has an instance of the template', () => {
      machine.run('lametun', 'down');
      const second = ['--state', '/var/lib/lametun-second'];
      machine.run('lametun', 'hub', '--install', '--port', '444', ...second);
      assert.equal(property(machine, 'lametun@second', 'ActiveState'), 'active');
      machine.run('lametun', 'down', ...second);
      assert.equal(property(machine, 'lametun@second', 'ActiveState'), 'inactive');
      machine.run('systemctl', 'disable', 'lametun@second');
    });

    await t.test('a stop gives everything back', () => {
      assert.equal(machine.run('cat', '/etc/resolv.conf'), 'nameserver 192.0.2.53\n');
      assert.equal(machine.run('nft', 'list', 'tables'), '');
      assert.equal(machine.try('ip', 'link', 'show', 'lametun0').status, 1);
    });

    await t.test('--install writes no unit for a program that another user can change', () => {
      machine.run('sh', '-c', 'mkdir /opt/clone; cp /usr/bin/lametun /opt/clone; chown 1000 /opt/clone');
      const state = ['--state', '/srv/lametun'];
      const { status, stderr } = machine.try('/opt/clone/lametun', 'hub', '--install', ...state);
      assert.match(stderr, /^lametun: --install: .* user 1000 owns \/opt\/clone: .*docs\/INSTALL\.md.*\n$/);
      assert.equal(status, 2);
      assert.equal(machine.try('ls', '/srv/lametun').status, 2, 'nothing was started');
      machine.run('chown', 'root', '/opt/clone');
      const said = machine.run('/opt/clone/lametun', 'hub', '--install', '--port', '445', ...state);
      assert.match(said, /^Wrote \/etc\/systemd\/system\/lametun-srv-lametun\.service\./m);
      assert.equal(property(machine, 'lametun-srv-lametun', 'ActiveState'), 'active');
    });
  });
}

/** The private key never becomes an argument. */
const CONFIGURE = `umask 077; wg genkey > /root/key; wg genpsk > /root/psk
wg set wg0 private-key /root/key listen-port 51820 peer "$(wg genkey | wg pubkey)" preshared-key /root/psk \\
  endpoint 192.0.2.9:5 allowed-ips 10.7.0.0/24,10.8.0.0/16 persistent-keepalive 25
ip address add 10.7.0.1/24 dev wg0; ip link set wg0 mtu 1380 up; ip route add 10.8.0.0/16 dev wg0`;

const interfaceOf = (machine: Debian): string =>
  machine.run('sh', '-c', 'ip address show wg0; ip route show dev wg0; wg showconf wg0');

function install(machine: Debian, version: string): void {
  machine.copy(debOf(version));
  machine.run('apt-get', 'install', '-y', `/root/lametun_${version}_amd64.deb`);
}

const property = (machine: Debian, unit: string, name: string): string =>
  machine.run('systemctl', 'show', '--value', '-p', name, unit).trim();

const restarted = (machine: Debian, unit: string, times: number): Promise<unknown> =>
  until(`restart ${times}`, () => {
    const [state, count] = ['ActiveState', 'NRestarts'].map((name) => property(machine, unit, name));
    return state === 'active' && count === `${times}`;
  });

const exposure = (machine: Debian, unit: string): number => {
  const found = machine.run('systemd-analyze', 'security', '--no-pager', `${unit}.service`);
  return Number(/exposure level for .*: ([\d.]+) /.exec(found)?.[1]);
};

const ptrace = declare<[request: number, pid: number, address: number, data: number]>(
  'long ptrace(long request, int pid, intptr_t address, intptr_t data)',
);
const waitpid = declare<[pid: number, status: number, options: number]>(
  'int waitpid(int pid, intptr_t status, int options)',
);
/** linux/ptrace.h, linux/wait.h; the number of poll(2) on x86-64. */
const PTRACE_SEIZE = 0x4206;
const PTRACE_INTERRUPT = 0x4207;
const WNOHANG = 1;
const WALL = 0x4000_0000;
const POLL = '7';

/** The thread that waits in poll(2): the worker of a process with these words in its command. */
function threadInPoll(words: string): number | undefined {
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    if (!readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(words)) continue;
    for (const thread of readdirSync(`/proc/${pid}/task`))
      if (readFileSync(`/proc/${pid}/task/${thread}/syscall`, 'utf8').split(' ')[0] === POLL)
        return Number(thread);
  }
  return undefined;
}

/** Stops one thread and no other, ptrace(2). */
function stopThread(thread: number): void {
  call(ptrace(PTRACE_SEIZE, thread, 0, 0), 'PTRACE_SEIZE');
  call(ptrace(PTRACE_INTERRUPT, thread, 0, 0), 'PTRACE_INTERRUPT');
}

/** Lets a killed thread go: its process has not ended before. */
const reap = (thread: number): void => void waitpid(thread, 0, WNOHANG | WALL);

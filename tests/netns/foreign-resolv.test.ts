import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { needs } from '../kit/requirements.js';

const run = promisify(execFile);
const BEFORE = 'nameserver 192.0.2.53\n';
const OWN = 'nameserver 192.0.2.54\n';

/**
 * A machine with a first process, an /etc, and two network namespaces, of which `with` has a resolv.conf of its own.
 * `$look` is a node there, that may not see what the first process has; it says what it did with the file.
 */
const MACHINE = `
set -e
mount --make-rprivate /
mount -t tmpfs tmpfs /run
mkdir -p /run/netns /run/state
cp -a /etc /run/etc
mount --bind /run/etc /etc
rm -rf /etc/resolv.conf /etc/netns
mkdir -p /etc/netns/with
printf '%s' "$before" >/etc/resolv.conf
printf '%s' "$own" >/etc/netns/with/resolv.conf
ip link set lo up
ip netns add with
ip netns add without
look() { "$@" setpriv --bounding-set -sys_ptrace --inh-caps -sys_ptrace "$node" --input-type=module -e "$script"; }
trusted() { "$@" "$node" --input-type=module -e "$script"; }
`;

interface Look {
  /** Whether the first process's files can be seen. */
  readonly sees: boolean;
  readonly how: string;
  readonly why?: string;
  /** What the file said while lametun ran, and after it. */
  readonly text: string;
  readonly after: string;
}

/** @param commands a look each; what they leave in the machine's file is looked at, too */
async function looks(commands: string): Promise<Look[]> {
  const module = JSON.stringify(new URL('../../src/node/names/system-names.js', import.meta.url).href);
  const script = `
    import { existsSync, readFileSync } from 'node:fs';
    const { startSystemNames } = await import(${module});
    const read = () => readFileSync('/etc/resolv.conf', 'utf8');
    const names = startSystemNames({ device: 'lt0', address: '10.7.0.2', domain: 'home.lametun',
      stateDirectory: '/run/state', log: () => {} });
    const { how, why } = names;
    const text = read();
    names.stop();
    console.log(JSON.stringify({ sees: existsSync('/proc/1/root/etc'), how, why, text, after: read() }));
    process.exit(0);`;
  const env = { ...process.env, node: process.execPath, script, before: BEFORE, own: OWN };
  const flags = ['--net', '--mount', '--pid', '--fork', '--kill-child', '--mount-proc'];
  const end = 'cat /etc/resolv.conf /etc/netns/with/resolv.conf';
  const { stdout } = await run('unshare', [...flags, 'sh', '-c', `${MACHINE}${commands}\n${end}`], { env });
  const lines = stdout.trim().split('\n');
  assert.equal(`${lines.splice(-2).join('\n')}\n`, `${BEFORE}${OWN}`, 'both files are as before');
  return lines.map((line) => JSON.parse(line) as Look);
}

function assertTaken(look: Look | undefined, before: string): void {
  assert.equal(look!.how, 'resolv.conf');
  assert.match(look!.text, /^nameserver 10\.7\.0\.2$/m);
  assert.equal(look!.after, before);
}

function assertLeft(look: Look | undefined, why: RegExp): void {
  assert.equal(look!.how, 'none');
  assert.match(look!.why!, why);
  assert.equal(look!.text, BEFORE);
}

const PROGRAMS = ['netns', 'unshare', 'setpriv'] as const;

test('whose resolv.conf is, is known also where the first process’s root cannot be seen', async (t) => {
  if (!needs(t, ...PROGRAMS)) return;
  const [here, without, own] = await looks(`
    look
    look ip netns exec without
    look ip netns exec with`);
  assert.ok(![here, without, own].some((look) => look!.sees), 'it cannot be seen');
  assertTaken(here, BEFORE);
  assertLeft(without, /belongs to another network namespace.*\/etc\/netns\//);
  assertTaken(own, OWN);
});

test('it is known where the root can be seen, and resolv.conf is a link', async (t) => {
  if (!needs(t, ...PROGRAMS)) return;
  const [here, without, own] = await looks(`
    mkdir /run/names && mv /etc/resolv.conf /run/names/resolv.conf && ln -s /run/names/resolv.conf /etc/resolv.conf
    trusted
    trusted ip netns exec without
    trusted ip netns exec with`);
  assert.ok([here, without, own].every((look) => look!.sees));
  assertTaken(here, BEFORE);
  assertLeft(without, /belongs to another network namespace/);
  assertTaken(own, OWN);
});

test('where /proc hides the first process, the file is left alone unless it was made for the namespace', async (t) => {
  if (!needs(t, ...PROGRAMS)) return;
  const [without, own, here] = await looks(`
    mount -o remount,hidepid=2,gid=12345 /proc
    look ip netns exec without
    look ip netns exec with
    look`);
  assertLeft(without, /may belong to another network namespace.*\/proc hides process 1/);
  assertTaken(own, OWN);
  // Not the namespace that the machine began with; only that one could be told apart.
  assertLeft(here, /may belong to another network namespace/);
});

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { needs } from '../kit/requirements.js';

const run = promisify(execFile);
const BEFORE = 'nameserver 192.0.2.53\n';
const OWN = 'nameserver 192.0.2.54\n';

/**
 * A machine with a process 1, an /etc, and two network namespaces, of which `with` has its own resolv.conf. `$look` runs a
 * node there that may be unable to see the files of process 1, and prints what it did with resolv.conf.
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

interface Result {
  /** Whether the files of process 1 are visible. */
  readonly sees: boolean;
  readonly how: string;
  readonly why?: string;
  /** The file's content while lametun ran, and afterwards. */
  readonly text: string;
  readonly after: string;
}

/** Runs shell commands on the machine, and checks that both files are unchanged. @returns the result of each `look` */
async function results(commands: string): Promise<Result[]> {
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
  return lines.map((line) => JSON.parse(line) as Result);
}

function assertTaken(result: Result | undefined, before: string): void {
  assert.equal(result!.how, 'resolv.conf');
  assert.match(result!.text, /^nameserver 10\.7\.0\.2$/m);
  assert.equal(result!.after, before);
}

function assertLeft(result: Result | undefined, why: RegExp): void {
  assert.equal(result!.how, 'none');
  assert.match(result!.why!, why);
  assert.equal(result!.text, BEFORE);
}

const PROGRAMS = ['netns', 'unshare', 'setpriv'] as const;

test('the owner of resolv.conf is detected even if the root of process 1 is not visible', async (t) => {
  if (!needs(t, ...PROGRAMS)) return;
  const [here, without, own] = await results(`
    look
    look ip netns exec without
    look ip netns exec with`);
  assert.ok(![here, without, own].some((result) => result!.sees), 'the root is not visible');
  assertTaken(here, BEFORE);
  assertLeft(without, /belongs to another network namespace.*\/etc\/netns\//);
  assertTaken(own, OWN);
});

test('the owner is detected if the root is visible and resolv.conf is a link', async (t) => {
  if (!needs(t, ...PROGRAMS)) return;
  const [here, without, own] = await results(`
    mkdir /run/names && mv /etc/resolv.conf /run/names/resolv.conf && ln -s /run/names/resolv.conf /etc/resolv.conf
    trusted
    trusted ip netns exec without
    trusted ip netns exec with`);
  assert.ok([here, without, own].every((result) => result!.sees));
  assertTaken(here, BEFORE);
  assertLeft(without, /belongs to another network namespace/);
  assertTaken(own, OWN);
});

test('where /proc hides process 1, resolv.conf is left alone unless it belongs to the namespace', async (t) => {
  if (!needs(t, ...PROGRAMS)) return;
  const [without, own, here] = await results(`
    mount -o remount,hidepid=2,gid=12345 /proc
    look ip netns exec without
    look ip netns exec with
    look`);
  assertLeft(without, /may belong to another network namespace.*\/proc hides process 1/);
  assertTaken(own, OWN);
  // Not the machine's first network namespace, the only one that could be recognized.
  assertLeft(here, /may belong to another network namespace/);
});

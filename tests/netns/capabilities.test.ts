import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { chownSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join as joinPath } from 'node:path';
import { type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Lametun } from '../kit/lametun.js';
import { NetworkLab } from '../kit/network-lab.js';
import { needs } from '../kit/requirements.js';
import { Running } from '../kit/running.js';
import { until } from '../kit/wait.js';
import { join, serve } from '../network/join.js';

const LAMETUND = fileURLToPath(new URL('../../src/cli/lametund.js', import.meta.url));

/** linux/capability.h: CAP_NET_BIND_SERVICE and CAP_NET_ADMIN. */
const NEEDED = ((1n << 10n) | (1n << 12n)).toString(16).padStart(16, '0');
const NONE = '0'.repeat(16);

/** The distinct capabilities of a process's threads, from /proc/PID/status. */
function capabilitiesOf(pid: number): string[] {
  const threads = readdirSync(`/proc/${pid}/task`);
  assert.ok(threads.length > 5, `only ${threads.length} threads: Node.js and a worker have more`);
  const answers = threads.map((thread) =>
    [
      ...readFileSync(`/proc/${pid}/task/${thread}/status`, 'utf8').matchAll(
        /^(Cap\w+|NoNewPrivs):\s*(\w+)$/gm,
      ),
    ]
      .map(([, name, value]) => `${name} ${value}`)
      .join(', '),
  );
  return [...new Set(answers)];
}

const LIMITED = [
  `CapInh ${NONE}, CapPrm ${NEEDED}, CapEff ${NEEDED}, CapBnd ${NEEDED}, CapAmb ${NONE}, NoNewPrivs 1`,
];

/** The process that has this argument. */
function processWith(argument: string): number {
  const found = readdirSync('/proc').filter((pid) => /^\d+$/.test(pid) && commandOf(pid).includes(argument));
  assert.equal(found.length, 1, `processes with the argument ${argument}`);
  return Number(found[0]);
}

function commandOf(pid: string): string[] {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
  } catch {
    return [];
  }
}

test('every thread of a hub, a node and the plain tunnel has only the capabilities that it needs', async (t) => {
  if (!needs(t, 'netns', 'tun', 'nft', 'ping')) return;
  assert.notDeepEqual(capabilitiesOf(process.pid), LIMITED, 'control: this process has more');
  const lab = new NetworkLab(t);
  const office = lab.site('office').machine;
  const home = lab.site('home', { access: 'easy' }).machine;
  const laptop = lab.site('laptop', { access: 'easy' }).machine;
  const { hub, token } = await serve(office, '--share', '198.51.100.0/28');
  assert.deepEqual(capabilitiesOf(hub.pid), LIMITED);
  const node = join(home, token);
  await node.says(/is up/);
  assert.deepEqual(capabilitiesOf(node.pid), LIMITED);
  const invite = JSON.parse(office.lametun('invite', '--json').stdout) as { token: string };
  const detached = laptop.lametun('join', invite.token, '--name', 'laptop', '--detach');
  assert.equal(detached.status, 0, detached.stderr);
  assert.deepEqual(capabilitiesOf(processWith(laptop.state)), LIMITED);
  await home.reaches('laptop.home.lametun');
  const plain = new Lametun(home.namespace, ['-listen', '-port', '4321']);
  t.after(() => plain.stop('SIGKILL'));
  await plain.ready();
  assert.deepEqual(capabilitiesOf(plain.pid), LIMITED);
});

test('every thread of lametund has only the capabilities that it needs, in the foreground and the background', async (t) => {
  if (!needs(t, 'root', 'tun', 'wg')) return;
  const front = lametund(t, ['-f', 'cap0']);
  await until('lametund to answer wg', () => spawnSync('wg', ['show', 'cap0']).status === 0);
  assert.deepEqual(capabilitiesOf(front.pid), LIMITED);
  const launcher = lametund(t, ['cap1']);
  assert.equal(await launcher.ended, 0, launcher.stderr);
  const background = processWith('cap1');
  t.after(() => process.kill(background, 'SIGKILL'));
  assert.deepEqual(capabilitiesOf(background), LIMITED);
});

function lametund(t: TestContext, args: readonly string[]): Running {
  const child = spawn(process.execPath, [LAMETUND, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  const running = new Running(child, `lametund ${args.join(' ')}`);
  t.after(() => running.stop('SIGKILL'));
  return running;
}

const LIMIT = `
  import { limitProcess } from ${JSON.stringify(new URL('../../src/linux/process/capabilities.js', import.meta.url).href)};
  limitProcess(); 
  let input = '';
  for await (const part of process.stdin) input += part;
  console.log(JSON.stringify({ pid: process.pid, args: process.argv.slice(1), word: process.env.WORD, input }));`;

/** Runs a script that limits its own capabilities, then prints its pid, arguments, environment and input. */
async function limited(input: string, ...wrapper: readonly string[]) {
  const script = `data:text/javascript,${encodeURIComponent(LIMIT)}`;
  const [command, ...args] = [
    ...wrapper,
    process.execPath,
    '--input-type=module',
    '-e',
    `await import(${JSON.stringify(script)})`,
  ];
  const child = spawn(command!, [...args, '--', 'ä b', ''], {
    stdio: 'pipe',
    env: { ...process.env, WORD: 'ö ü' },
  });
  child.stdin.end(input);
  const running = new Running(child, 'the script');
  await once(child, 'spawn');
  assert.equal(await running.ended, 0, running.stderr);
  return { started: child.pid, ...JSON.parse(running.stdout) };
}

test('a process that limits its capabilities keeps its pid, arguments, environment and input', async () => {
  const { started, pid, args, word, input } = await limited('from outside');
  assert.deepEqual([pid, args, word, input], [started, ['ä b', ''], 'ö ü', 'from outside']);
});

const NOBODY = 65_534;

test('root can run a program from a private home directory, and read a file there that an argument names', (t) => {
  if (!needs(t, 'root')) return;
  const home = mkdtempSync(joinPath(tmpdir(), 'lametun-home-')); // mode 0700
  const open = mkdtempSync(joinPath(tmpdir(), 'lametun-open-'));
  t.after(() => {
    for (const folder of [home, open]) rmSync(folder, { recursive: true });
  });
  const script = `
    import { readFileSync } from 'node:fs';
    import { limitProcess } from ${JSON.stringify(new URL('../../src/linux/process/capabilities.js', import.meta.url).href)};
    limitProcess();
    console.log(/CapBnd:\\s*(\\w+)/.exec(readFileSync('/proc/self/status', 'utf8'))[1]);
    for (const file of process.argv.slice(2)) console.log(readFileSync(file.replace(/^.*=/, ''), 'utf8'));`;
  for (const folder of [home, open]) writeFileSync(joinPath(folder, 'main.mjs'), script);
  writeFileSync(joinPath(home, 'token'), 'a token');
  for (const path of [home, joinPath(home, 'main.mjs'), joinPath(home, 'token')])
    chownSync(path, NOBODY, NOBODY);
  const run = (folder: string, ...args: string[]): string => {
    const main = joinPath(folder, 'main.mjs');
    const { stdout, stderr } = spawnSync(process.execPath, [main, ...args], { encoding: 'utf8' });
    assert.equal(stderr, '');
    return stdout;
  };
  const withHomes = (BigInt(`0x${NEEDED}`) | (1n << 2n)).toString(16).padStart(16, '0');
  assert.equal(run(home), `${withHomes}\n`);
  assert.equal(run(open, joinPath(home, 'token')), `${withHomes}\na token\n`);
  assert.equal(run(open, `--token-file=${joinPath(home, 'token')}`), `${withHomes}\na token\n`);
  assert.equal(run(open), `${NEEDED}\n`, 'without a file there, the capability is dropped');
});

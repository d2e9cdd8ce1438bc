import assert from 'node:assert/strict';
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { promisify } from 'node:util';
import { needs } from '../kit/requirements.js';
import { until } from '../kit/wait.js';

const run = promisify(execFile);
const BEFORE = 'search corp.example\nnameserver 10.53.0.1\noptions timeout:2\n';
/** The address of the only name that the machine's upstream name server knows. */
const ELSEWHERE = '192.0.2.1';

/** A handover takes about 0.2 s, or 1 s without a guard; busy machines get more. Milliseconds. */
const SOON = 20_000;

const HOME = { network: 'home', net: '10.7', node: 'office' } as const;
const WORK = { network: 'work', net: '10.8', node: 'printer' } as const;

/** A simulated machine for nodes' names, with its own network namespace, /etc and /run. */
class Machine {
  readonly #t: TestContext;
  readonly #process: ChildProcess;

  private constructor(t: TestContext, child: ChildProcess) {
    this.#t = t;
    this.#process = child;
  }

  static async begin(t: TestContext): Promise<Machine> {
    const prepare = `
      mount --make-rprivate / && mount -t tmpfs tmpfs /run && cp -a /etc /run/etc && mount --bind /run/etc /etc &&
      rm -f /etc/resolv.conf /etc/nsswitch.conf && printf '%s' "$1" >/etc/resolv.conf && chmod 640 /etc/resolv.conf &&
      ip link set lo up && ip addr add 10.53.0.1/32 dev lo && ip addr add 10.7.0.2/16 dev lo &&
      ip addr add 10.8.0.2/16 dev lo && echo ready && exec sleep 600`;
    const child = spawn('unshare', ['-m', '-n', 'sh', '-c', prepare, 'sh', BEFORE], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    t.after(() => child.kill('SIGKILL'));
    await once(child.stdout!, 'data');
    const machine = new Machine(t, child);
    const server = machine.#node(`
      import { createSocket } from 'node:dgram';
      const { decode, encode } = await import(${JSON.stringify(import.meta.resolve('dns-packet'))});
      const socket = createSocket('udp4');
      socket.on('message', (message, { port, address }) => {
        const { id, questions } = decode(message);
        const [{ name, type }] = questions;
        const none = name !== 'www.example.com';
        const answers = none || type !== 'A' ? [] : [{ type, name, ttl: 60, data: '${ELSEWHERE}' }];
        socket.send(encode({ type: 'response', id, flags: 0x180 | (none ? 3 : 0), questions, answers }), port, address);
      });
      socket.bind(53, '10.53.0.1', () => console.log('ready'));`);
    await once(server.stdout!, 'data');
    return machine;
  }

  /** Starts a network's node. */
  async join({ network, net, node }: { network: string; net: string; node: string }): Promise<Joined> {
    const state = mkdtempSync(join(tmpdir(), 'lametun-names-'));
    this.#t.after(() => rmSync(state, { recursive: true, force: true }));
    const module = JSON.stringify(new URL('../../src/node/names/local-names.js', import.meta.url).href);
    const [a, b] = net.split('.');
    const child = this.#node(`
      const { LocalNames } = await import(${module});
      const names = new LocalNames((text) => console.log(JSON.stringify({ log: text })));
      await names.start({ network: '${network}', ranges: [{ address: Uint8Array.of(${a}, ${b}, 0, 0), prefix: 16 }],
        device: 'lt${b}', addresses: { ipv4: Uint8Array.of(${a}, ${b}, 0, 2) }, stateDirectory: ${JSON.stringify(state)} });
      names.set([{ name: '${node}', ipv4: '${net}.0.9', ipv6: 'fd12::9' }]);
      const print = () => console.log(JSON.stringify({ ...names.status, upstreams: names.upstreams() }));
      process.once('SIGTERM', () => { names.stop(); process.exit(0); });
      process.on('SIGUSR2', print);
      print();
      setInterval(() => {}, 1000);`);
    const joined = new Joined(child, state);
    await until('the node to start', () => joined.said.length > 0);
    return joined;
  }

  #node(script: string): ChildProcess {
    const args = [
      '-t',
      `${this.#process.pid}`,
      '-m',
      '-n',
      process.execPath,
      '--input-type=module',
      '-e',
      script,
    ];
    const child = spawn('nsenter', args, { stdio: ['ignore', 'pipe', 'inherit'] });
    this.#t.after(() => child.kill('SIGKILL'));
    return child;
  }

  async #run(...command: string[]): Promise<string> {
    const enter = ['-t', `${this.#process.pid}`, '-m', '-n', ...command];
    return (await run('nsenter', enter, { encoding: 'utf8' }).catch(() => ({ stdout: '' }))).stdout;
  }

  /** The address that programs resolve; empty if there is none. */
  async find(name: string): Promise<string> {
    return (await this.#run('getent', 'ahostsv4', name)).split(' ')[0]!;
  }

  async nameOf(address: string): Promise<string> {
    return (await this.#run('getent', 'hosts', address)).trim().split(/\s+/)[1] ?? '';
  }

  read(path: string): string {
    return readFileSync(`/proc/${this.#process.pid}/root${path}`, 'utf8');
  }

  list(path: string): string[] {
    return readdirSync(`/proc/${this.#process.pid}/root${path}`);
  }

  get resolvConf(): string {
    return this.read('/etc/resolv.conf');
  }

  /** Asserts that full and short names of both networks resolve, and other names too. */
  async findsBoth(): Promise<void> {
    await until('both search domains', () =>
      /^search corp\.example .*\.lametun .*\.lametun$/m.test(this.resolvConf),
    );
    assert.equal(await this.find('office.home.lametun'), '10.7.0.9');
    assert.equal(await this.find('printer.work.lametun'), '10.8.0.9');
    assert.equal(await this.find('printer'), '10.8.0.9');
    assert.equal(await this.find('www.example.com'), ELSEWHERE);
    assert.equal(await this.find('nobody.work.lametun'), '');
    assert.equal(await this.nameOf('10.7.0.9'), 'office.home.lametun');
    assert.equal(await this.nameOf('10.8.0.9'), 'printer.work.lametun');
  }

  /** Asserts that the file is restored, and that nothing is left beside it. */
  async isAsBefore(...nodes: Joined[]): Promise<void> {
    await until('the file to be back', () => this.resolvConf === BEFORE, SOON);
    await until(
      'all other files to be gone',
      () => nodes.every(({ state }) => readdirSync(state).length === 0),
      SOON,
    );
    assert.equal((await this.#run('stat', '-c', '%a', '/etc/resolv.conf')).trim(), '640');
    assert.deepEqual(
      this.list('/etc').filter((name) => name.startsWith('resolv.conf')),
      ['resolv.conf'],
    );
  }
}

interface Said {
  readonly how: string;
  readonly why?: string;
  readonly through?: string;
  readonly upstreams: readonly string[];
}

class Joined {
  readonly said: Said[] = [];
  readonly logged: string[] = [];
  readonly state: string;
  readonly #child: ChildProcess;

  constructor(child: ChildProcess, state: string) {
    this.#child = child;
    this.state = state;
    let rest = '';
    child.stdout!.setEncoding('utf8').on('data', (chunk: string) => {
      const lines = (rest + chunk).split('\n');
      rest = lines.pop()!;
      for (const line of lines) {
        const { log, ...said } = JSON.parse(line) as Said & { log?: string };
        if (log === undefined) this.said.push(said);
        else this.logged.push(log);
      }
    });
  }

  async end(signal: NodeJS.Signals): Promise<void> {
    const exit = once(this.#child, 'exit');
    this.#child.kill(signal);
    await exit;
  }

  /** Kills the guard, so that nothing restores the file after the node is killed. */
  killGuard(): void {
    for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
      try {
        const words = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
        if (words.includes('lametun-guard') && words.some((word) => word.startsWith(this.state))) {
          process.kill(Number(pid), 'SIGKILL');
        }
      } catch {} // it has exited
    }
  }

  /** The state that the node reports now. */
  async status(): Promise<Said> {
    const before = this.said.length;
    this.#child.kill('SIGUSR2');
    await until('the report', () => this.said.length > before);
    return this.said.at(-1)!;
  }
}

for (const [first, second] of [
  [HOME, WORK],
  [WORK, HOME],
] as const) {
  test(`names of two networks resolve while both run; ${first.network} starts first, stops, starts again and is killed`, async (t) => {
    if (!needs(t, 'netns', 'unshare', 'nsenter', 'getent')) return;
    const machine = await Machine.begin(t);
    const one = await machine.join(first);
    const two = await machine.join(second);
    await machine.findsBoth();
    await until(
      'the second node to learn of the first',
      async () => (await two.status()).through !== undefined,
    );
    const { why: _, ...status } = await two.status();
    assert.deepEqual(status, {
      how: 'resolv.conf',
      through: `lt${first.net.slice(3)}`,
      upstreams: ['10.53.0.1'],
    });
    assert.deepEqual([...one.logged, ...two.logged], []);

    await one.end('SIGTERM');
    await until(
      'the second node to take over the file',
      () => machine.resolvConf.includes(`nameserver ${second.net}.0.2`),
      SOON,
    );
    assert.equal((await two.status()).through, undefined);
    assert.equal(await machine.find(`${second.node}.${second.network}.lametun`), `${second.net}.0.9`);
    assert.equal(await machine.find('www.example.com'), ELSEWHERE);

    const again = await machine.join(first);
    await machine.findsBoth();
    await two.end('SIGKILL');
    await until(
      'the first node to take over the file again',
      () => machine.resolvConf.includes(`nameserver ${first.net}.0.2`),
      SOON,
    );
    assert.equal(await machine.find(`${first.node}.${first.network}.lametun`), `${first.net}.0.9`);
    assert.equal(
      await machine.find(`${second.node}.${second.network}.lametun`),
      '',
      'the dead node is not asked',
    );
    await again.end('SIGKILL');
    await machine.isAsBefore(one, two, again);
  });
}

test('a node killed without owning the file is forgotten, and the next start removes its files', async (t) => {
  if (!needs(t, 'netns', 'unshare', 'nsenter', 'getent')) return;
  const machine = await Machine.begin(t);
  const one = await machine.join(HOME);
  const two = await machine.join(WORK);
  await machine.findsBoth();
  await two.end('SIGKILL');
  await until('the killed node to be forgotten', () => !machine.resolvConf.includes('work.lametun'));
  assert.equal(await machine.find('printer.work.lametun'), '');
  assert.equal(await machine.find('office'), '10.7.0.9');
  assert.equal(machine.list('/run/lametun/names').length, 2);
  const again = await machine.join(WORK);
  assert.equal(machine.list('/run/lametun/names').length, 2);
  await machine.findsBoth();
  await one.end('SIGTERM');
  await again.end('SIGTERM');
  assert.deepEqual(machine.list('/run/lametun/names'), []);
  await machine.isAsBefore(one, two, again);
});

test('names missing in one of two networks with the same name are looked up in the other, even without a guard', async (t) => {
  if (!needs(t, 'netns', 'unshare', 'nsenter', 'getent')) return;
  const machine = await Machine.begin(t);
  const one = await machine.join(HOME);
  const two = await machine.join({ ...WORK, network: 'home' });
  await until(
    'the second node to learn of the first',
    async () => (await two.status()).through !== undefined,
  );
  assert.equal(await machine.find('office.home.lametun'), '10.7.0.9');
  assert.equal(await machine.find('printer.home.lametun'), '10.8.0.9');
  assert.equal(await machine.find('nobody.home.lametun'), '');
  one.killGuard();
  await one.end('SIGKILL');
  await until(
    'the second node to take over the file',
    () => machine.resolvConf.includes('nameserver 10.8.0.2'),
    SOON,
  );
  assert.equal(await machine.find('printer.home.lametun'), '10.8.0.9');
  await two.end('SIGTERM');
  await machine.isAsBefore(two);
});

/**
 * Measures the plain tunnel beside bare veth, and beside the original Go program where LAMETUN_GO names it:
 *
 *     npm run bench [-- --quick] [-- --rounds N] [-- --output FILE]
 *
 * All stand ready at the same time, and in each round each is measured once, so that a machine that is slow
 * for some minutes is slow for all. Both ends and iperf3 share this machine's processors.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { arch, availableParallelism, cpus, release } from 'node:os';
import { dirname } from 'node:path';
import { parseArgs } from 'node:util';
import { connect, Namespace } from '../../src/linux/namespace.js';
import { runProgram } from '../../src/linux/program.js';
import { Lametun } from '../../src/testkit/lametun.js';
import { ping } from '../../src/testkit/traffic.js';
import { until } from '../../src/testkit/wait.js';
import { runInSandbox, SANDBOX_VARIABLE, whyNoSandbox } from '../runner/sandbox.js';
import { METRICS, type Measurement, measure, type Subject } from './measure.js';
import { LEAST_ROUNDS, medianOf, type Results, ratio, table } from './report.js';

const OURS = 'lametun';

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      quick: { type: 'boolean', default: false },
      rounds: { type: 'string' },
      output: { type: 'string', default: 'bench-results/plain.json' },
    },
  });
  const rounds = Number(values.rounds ?? (values.quick ? LEAST_ROUNDS : 5));
  if (!Number.isInteger(rounds) || rounds < 1) return fail('--rounds takes a number of at least 1', 2);
  if (process.env[SANDBOX_VARIABLE] === undefined) {
    const why = whyNoSandbox();
    return why === undefined ? runInSandbox() : fail(`needs namespaces of its own: ${why} (try sudo)`, 1);
  }
  runProgram('iperf3', ['--version'], { purpose: 'the benchmark' });
  const subjects = await setUp();
  const results = await run(subjects, rounds, values.quick ? 1 : 3);
  say(`\n${table(results, OURS)}\n`);
  say(`Medians of ${rounds} rounds (least-greatest); ratios are medians of the ratios of each round.`);
  if (rounds < LEAST_ROUNDS) say(`No ratios: they take at least ${LEAST_ROUNDS} rounds.`);
  mkdirSync(dirname(values.output), { recursive: true });
  writeFileSync(values.output, `${JSON.stringify(document(results), undefined, 2)}\n`);
  say(`Written to ${values.output}.`);
  return 0;
}

async function run(subjects: readonly Subject[], rounds: number, seconds: number): Promise<Results> {
  const results: Record<string, Measurement[]> = Object.fromEntries(subjects.map(({ name }) => [name, []]));
  for (let round = 0; round < rounds; round++) {
    for (const subject of subjects) {
      say(`round ${round + 1} of ${rounds}: ${subject.name}`);
      results[subject.name]!.push(await measure(subject, seconds));
    }
  }
  return results;
}

/** Two hosts on one cable, and every tunnel between them. */
async function setUp(): Promise<Subject[]> {
  const [client, server] = Namespace.createAll(['bench-client', 'bench-server']) as [Namespace, Namespace];
  connect(
    { namespace: client, device: 'eth0', addresses: ['192.0.2.1/24'] },
    { namespace: server, device: 'eth0', addresses: ['192.0.2.2/24'] },
  );
  const between = { client, server };
  const subjects: Subject[] = [
    { name: OURS, ...between, address: '10.0.0.1', device: 'tun0', pids: await startOurs(client, server) },
  ];
  const go = process.env['LAMETUN_GO'];
  if (go !== undefined) {
    const pids = startGo(go, client, server);
    subjects.push({ name: 'Go original', ...between, address: '10.1.0.1', device: 'tun1', pids });
  }
  subjects.push({ name: 'bare veth', ...between, address: '192.0.2.2', device: 'eth0', pids: [] });
  for (const { name, address } of subjects) {
    await until(`${name} to answer`, async () => (await ping(client, address)).received === 1);
  }
  return subjects;
}

async function startOurs(client: Namespace, server: Namespace): Promise<number[]> {
  const ends = [
    new Lametun(server, ['-listen', '--address', '10.0.0.1/24', '--mtu', '1468']),
    new Lametun(client, ['-server', '192.0.2.2', '--address', '10.0.0.2/24', '--mtu', '1468']),
  ];
  await Promise.all(ends.map((end) => end.ready()));
  return ends.map(({ pid }) => pid);
}

function startGo(program: string, client: Namespace, server: Namespace): number[] {
  const start = (host: Namespace, address: string, args: readonly string[]): number => {
    host.ip([
      'tuntap add dev tun1 mode tun',
      `address add ${address}/24 dev tun1`,
      'link set tun1 mtu 1468 up',
    ]);
    // It prints two lines for each packet, which here nobody reads.
    return host.spawn(program, ['-device', 'tun1', '-port', '1235', ...args], { stdio: 'ignore' }).pid!;
  };
  return [start(server, '10.1.0.1', ['-listen']), start(client, '10.1.0.2', ['-server', '192.0.2.2'])];
}

/** Everything that was measured, and where. */
function document(results: Results) {
  const others = Object.keys(results).filter((subject) => subject !== OURS);
  return {
    date: new Date().toISOString(),
    machine: {
      kernel: release(),
      arch: arch(),
      processor: cpus()[0]?.model,
      processors: availableParallelism(),
      node: process.version,
    },
    metrics: METRICS,
    rounds: results,
    summary: Object.keys(METRICS).map((name) => {
      const metric = name as keyof typeof METRICS;
      return {
        metric,
        medians: Object.fromEntries(
          Object.keys(results).map((subject) => [subject, medianOf(results, subject, metric)]),
        ),
        ratios: Object.fromEntries(others.map((other) => [other, ratio(results, OURS, other, metric)])),
      };
    }),
  };
}

const say = (text: string): void => void process.stdout.write(`${text}\n`);

function fail(message: string, status: number): number {
  process.stderr.write(`bench: ${message}\n`);
  return status;
}

// The tunnels still run; they end with this process's namespaces.
process.exit(await main().catch((error: Error) => fail(error.message, 1)));

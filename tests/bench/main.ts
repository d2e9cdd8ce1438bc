/**
 * Compares lametund with other WireGuard implementations, the plain tunnel and the bare cable between two hosts:
 *
 *     npm run bench -- [--quick] [--only tcp,udp] [--rounds N] [--seconds S] [--output FILE] [--svg FILE] [--publish]
 *     npm run bench -- --from FILE[,FILE...] [--svg FILE] [--publish]
 *
 * The others are the system's wireguard-go and the programs in BENCH_PEER (paths, separated by commas: newer versions of
 * wireguard-go, boringtun). LAMETUN_GO names the Go program that the plain tunnel is modeled on. `--publish` writes the
 * figures of docs/PERFORMANCE.md and docs/performance.svg. `--from` shows earlier results. Both ends and the traffic
 * generator share this machine's processors.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { parseArgs } from 'node:util';
import { makeSingleFiles } from '../../packaging/single-file/make.js';
import type { Architecture } from '../../packaging/single-file/node.js';
import { runProgram } from '../../src/linux/process/program.js';
import { runInSandbox, SANDBOX_VARIABLE, whyNoSandbox } from '../runner/sandbox.js';
import { chart } from './chart.js';
import { CROWD } from './crowd.js';
import { implementations } from './daemon.js';
import { conditions, type Document, documentText, makeDocument, readDocuments } from './document.js';
import { FLOOD } from './flood.js';
import { Hosts } from './hosts.js';
import { LIMITS } from './limits.js';
import { LOOKUPS } from './lookups.js';
import { NETWORK } from './network.js';
import { PEER_SCALE } from './peers.js';
import { publish } from './publish.js';
import { RELAY } from './relay.js';
import { LEAST_ROUNDS, tables } from './report.js';
import { type Results, runSection, type Section } from './section.js';
import { START } from './start.js';
import { PING, PLAIN, TCP, UDP } from './traffic.js';

const SECTIONS: readonly Section[] = [
  TCP,
  UDP,
  PING,
  PLAIN,
  START,
  PEER_SCALE,
  LOOKUPS,
  FLOOD,
  RELAY,
  LIMITS,
  CROWD,
  NETWORK,
];
const ESSENTIAL: readonly Section[] = [TCP, UDP, PING, PLAIN, START];

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      quick: { type: 'boolean', default: false },
      only: { type: 'string' },
      rounds: { type: 'string' },
      seconds: { type: 'string' },
      svg: { type: 'string' },
      output: { type: 'string', default: 'bench-results/bench.json' },
      publish: { type: 'boolean', default: false },
      from: { type: 'string' },
    },
  });
  if (values.from !== undefined) return show(readDocuments(values.from.split(',')), values);
  const rounds = Number(values.rounds ?? (values.quick ? LEAST_ROUNDS : 5));
  const seconds = Number(values.seconds ?? (values.quick ? 1 : 3));
  if (!Number.isInteger(rounds) || rounds < 1)
    return fail('--rounds must be a whole number of at least 1', 2);
  if (!(seconds >= 1)) return fail('--seconds must be a number of at least 1', 2);
  const sections = choose(values.only, values.quick);
  if (typeof sections === 'string') return fail(sections, 2);
  if (process.env[SANDBOX_VARIABLE] === undefined) {
    const why = whyNoSandbox();
    // The sandbox has no network.
    if (why === undefined && sections.includes(START)) await makeSingleFiles([process.arch as Architecture]);
    return why === undefined ? runInSandbox() : fail(`cannot create namespaces: ${why}; try sudo`, 1);
  }
  for (const [program, argument] of NEEDED) runProgram(program, [argument], { purpose: 'the benchmark' });

  const hosts = new Hosts(implementations(), values.quick, seconds);
  const all: Results[] = [];
  for (const section of sections) {
    const often = values.rounds === undefined ? (section.rounds ?? rounds) : rounds;
    const results = await runSection(section, hosts, often, (text) => process.stderr.write(`${text}\n`));
    all.push(results);
    say(`\n${titled(results)}`);
    mkdirSync(dirname(values.output), { recursive: true });
    writeFileSync(values.output, documentText(makeDocument(all, seconds)));
  }
  explain(all);
  finish(makeDocument(all, seconds), values);
  say(`Written to ${values.output}.`);
  return all.some(oursFailed) ? 1 : 0;
}

/** Whether the first subject, which is ours, failed. Failures of others are only printed. */
const oursFailed = ({ rounds, failures = [] }: Results): boolean =>
  failures.some((failure) => failure.startsWith(`${Object.keys(rounds)[0]}, `));

/** Prints earlier results. */
function show(document: Document, wanted: Wanted): number {
  for (const results of document.sections) say(`${titled(results)}`);
  finish(document, wanted);
  return 0;
}

function titled(results: Results): string {
  const failures = (results.failures ?? []).map((failure) => `Not measured: ${failure}\n`);
  return `${results.title}:\n\n${tables(results, process.stdout.columns ?? 100)}\n${failures.join('')}`;
}

interface Wanted {
  readonly svg?: string | undefined;
  readonly publish: boolean;
}

function finish(document: Document, wanted: Wanted): void {
  if (wanted.svg !== undefined) writeFileSync(wanted.svg, chart(document.sections, conditions(document)));
  if (wanted.publish) publish(document);
}

function explain(all: readonly Results[]): void {
  const counts = all.flatMap(({ rounds }) => Object.values(rounds).map(({ length }) => length));
  const compared = all.some(({ metrics }) =>
    Object.values(metrics).some(({ compare }) => compare !== 'none'),
  );
  if (!compared) return;
  const rounds = Math.max(...counts);
  say(
    `Medians of ${rounds} rounds, with the deviation of the farthest round. The columns of the others end with our`,
  );
  say('figure divided by theirs, or with + or - our figure minus theirs: the median over all rounds.');
  if (rounds < LEAST_ROUNDS) say(`Not compared: a comparison needs at least ${LEAST_ROUNDS} rounds.`);
}

const NEEDED = [
  ['iperf3', '--version'],
  ['wg', '--version'],
  ['wireguard-go', '--version'],
] as const;

/** @returns the sections to run, or an error message */
function choose(only: string | undefined, quick: boolean): readonly Section[] | string {
  if (only === undefined) return quick ? ESSENTIAL : SECTIONS;
  const names = only.split(',');
  const unknown = names.filter((name) => !SECTIONS.some((section) => section.name === name));
  if (unknown.length === 0) return SECTIONS.filter(({ name }) => names.includes(name));
  return `--only: unknown section ${unknown.join(', ')}; choose from ${SECTIONS.map(({ name }) => name).join(', ')}`;
}

const say = (text: string): void => void process.stdout.write(`${text}\n`);

function fail(message: string, status: number): number {
  process.stderr.write(`bench: ${message}\n`);
  return status;
}

// The tunnels still run. They end with this process's namespaces.
process.exit(await main().catch((error: Error) => fail(error.message, 1)));

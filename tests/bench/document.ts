import { readFileSync } from 'node:fs';
import { arch, availableParallelism, cpus, release } from 'node:os';
import { compare, medianOf } from './report.js';
import type { Results } from './section.js';

/** What one section measured, and for how long. */
export interface Measured extends Results {
  /** How long each run of traffic lasted. */
  readonly seconds: number;
}

/** Everything that was measured, and where: what `--output` writes and `--from` reads. */
export interface Document {
  readonly date: string;
  readonly machine: {
    readonly kernel: string;
    readonly arch: string;
    readonly processor: string | undefined;
    readonly processors: number;
    readonly node: string;
  };
  readonly sections: readonly Measured[];
}

export const makeDocument = (sections: readonly Results[], seconds: number): Document => ({
  date: new Date().toISOString(),
  machine: {
    kernel: release(),
    arch: arch(),
    processor: cpus()[0]?.model,
    processors: availableParallelism(),
    node: process.version,
  },
  sections: sections.map((one) => ({ ...one, seconds })),
});

/** As JSON, with what follows from the rounds. */
export const documentText = (document: Document): string =>
  `${JSON.stringify(
    { ...document, sections: document.sections.map((one) => ({ ...one, summary: summary(one) })) },
    undefined,
    2,
  )}\n`;

function summary({ metrics, rounds }: Results) {
  const [focus, ...others] = Object.keys(rounds) as [string, ...string[]];
  return Object.entries(metrics).map(([metric, { compare: how }]) => ({
    metric,
    medians: Object.fromEntries(Object.keys(rounds).map((one) => [one, medianOf(rounds, one, metric)])),
    comparisons: Object.fromEntries(
      others.map((other) => [other, compare(rounds, focus, other, metric, how)]),
    ),
  }));
}

/** Reads documents as one. Where two have a section, the later one's counts. */
export function readDocuments(paths: readonly string[]): Document {
  const documents = paths.map((path) => JSON.parse(readFileSync(path, 'utf8')) as Document);
  const sections = new Map(
    documents.flatMap((one) => one.sections.map((section) => [section.section, section])),
  );
  return { ...documents.at(-1)!, sections: [...sections.values()] };
}

/** Where and how it was measured, in words: for below a table or a chart. */
export function conditions({ date, machine, sections }: Document): string[] {
  const [kernel] = /^\d+\.\d+/.exec(machine.kernel) ?? [machine.kernel];
  const processor = machine.processor === undefined ? '' : ` (${machine.processor.trim()})`;
  return [
    `Medians of ${howOften(sections)}, measured on ${date.slice(0, 10)}: ` +
      `Linux ${kernel}, ${machine.processors} processors${processor}, Node ${machine.node}.`,
    'Both ends of a tunnel and who makes the traffic share the processors; MTU 1420.',
    '“ours 2.0×”: ours is twice as much, the median of what it was in each round.',
  ];
}

/** `5 interleaved rounds of 2 s (start, plain: 3 of 1 s)`: what most sections have comes first. */
function howOften(sections: readonly Measured[]): string {
  const groups = new Map<string, { rounds: number; seconds: number; names: string[] }>();
  for (const { section, seconds, rounds: bySubject } of sections) {
    const rounds = Math.min(...Object.values(bySubject).map(({ length }) => length));
    const key = `${rounds} ${seconds}`;
    const group = groups.get(key) ?? { rounds, seconds, names: [] };
    groups.set(key, group);
    group.names.push(section);
  }
  const [most, ...others] = [...groups.values()].sort((a, b) => b.names.length - a.names.length);
  const exceptions = others.map(
    ({ rounds, seconds, names }) => `${names.join(', ')}: ${rounds} of ${seconds} s`,
  );
  const usual = `${most!.rounds} interleaved rounds of ${most!.seconds} s`;
  return exceptions.length === 0 ? usual : `${usual} (${exceptions.join('; ')})`;
}

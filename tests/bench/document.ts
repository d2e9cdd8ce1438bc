import { readFileSync } from 'node:fs';
import { arch, availableParallelism, cpus, release } from 'node:os';
import { compare, medianOf } from './report.js';
import type { Results } from './section.js';

/** The results of a section. */
export interface Measured extends Results {
  /** The length of each run of traffic. */
  readonly seconds: number;
}

/** All results and the machine: what `--output` writes and `--from` reads. */
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

/** The document as JSON, with medians and comparisons added. */
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

/** Merges documents. If several have a section, the last one wins. */
export function readDocuments(paths: readonly string[]): Document {
  const documents = paths.map((path) => JSON.parse(readFileSync(path, 'utf8')) as Document);
  const sections = new Map(
    documents.flatMap((one) => one.sections.map((section) => [section.section, section])),
  );
  return { ...documents.at(-1)!, sections: [...sections.values()] };
}

/** The machine and the conditions in words, to print below a table or a chart. */
export function conditions({ date, machine, sections }: Document): string[] {
  const [kernel] = /^\d+\.\d+/.exec(machine.kernel) ?? [machine.kernel];
  const processor = machine.processor === undefined ? '' : ` (${machine.processor.trim()})`;
  return [
    `Medians of ${howOften(sections)}, measured on ${date.slice(0, 10)}: ` +
      `Linux ${kernel}, ${machine.processors} processors${processor}, Node ${machine.node}.`,
    'Both ends of a tunnel and the traffic generator share the processors. MTU 1420.',
    '“ours 2.0×”: the figure of lametun is twice this one. Ratios are medians of the ratios of all rounds.',
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

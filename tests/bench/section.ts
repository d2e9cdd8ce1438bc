import type { Hosts } from './hosts.js';

/** One row of a table: what its numbers are in, and whether more is better. */
export interface Metric {
  readonly unit: string;
  readonly better: 'more' | 'less';
  /** How two subjects are compared; a difference where there may be zeros. */
  readonly compare?: 'ratio' | 'difference';
}
export type Metrics = Readonly<Record<string, Metric>>;

/** What one subject measured in one round, by metric. What could not be measured is absent. */
export type Measurement = Readonly<Record<string, number>>;

/** By subject, one measurement for each round. */
export type Rounds = Readonly<Record<string, readonly Measurement[]>>;

/** A part of the benchmark that can be run alone: some metrics, and who is measured by them. */
export interface Section {
  readonly name: string;
  readonly title: string;
  /** @throws LametunError when something is missing */
  prepare(hosts: Hosts): Promise<Prepared>;
}

export interface Prepared {
  readonly metrics: Metrics;
  /** The first is compared with each other one. */
  readonly subjects: readonly string[];
  measure(subject: string): Promise<Measurement>;
  close?(): void;
}

/** What a section found. */
export interface Results {
  readonly section: string;
  readonly title: string;
  readonly metrics: Metrics;
  readonly rounds: Rounds;
}

/**
 * Measures every subject once in each round, so that a machine that is slow for some minutes is slow for all. The
 * first of a round is another one each time: whoever comes first may find the machine cooler than the others.
 */
export async function runSection(
  section: Section,
  hosts: Hosts,
  rounds: number,
  say: (text: string) => void,
): Promise<Results> {
  const { metrics, subjects, measure, close } = await section.prepare(hosts);
  const measured = new Map<string, Measurement[]>(subjects.map((subject) => [subject, []]));
  try {
    for (let round = 0; round < rounds; round++) {
      for (let i = 0; i < subjects.length; i++) {
        const subject = subjects[(i + round) % subjects.length]!;
        say(`${section.name}, round ${round + 1} of ${rounds}: ${subject}`);
        measured.get(subject)!.push(await measure(subject));
      }
    }
  } finally {
    close?.();
  }
  return { section: section.name, title: section.title, metrics, rounds: Object.fromEntries(measured) };
}

import type { Hosts } from './hosts.js';

/** One row of a table: what its numbers are in, and whether more is better. */
export interface Metric {
  readonly unit: string;
  readonly better: 'more' | 'less';
  /** How two subjects are compared; a difference where there may be zeros, not at all where they are not rivals. */
  readonly compare?: 'ratio' | 'difference' | 'none';
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
  /** How often it is measured unless told, where that is not as often as the others: it takes many samples in each. */
  readonly rounds?: number;
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
  /** What could not be measured, and why. */
  readonly failures?: readonly string[];
}

/**
 * Measures every subject once in each round, so that a machine that is slow for some minutes is slow for all. The
 * first of a round is another one each time: whoever comes first may find the machine cooler than the others. Who fails
 * in a round has no measurement in it, and the others go on.
 */
export async function runSection(
  section: Section,
  hosts: Hosts,
  rounds: number,
  say: (text: string) => void,
): Promise<Results> {
  const { metrics, subjects, measure, close } = await section.prepare(hosts);
  const measured = new Map<string, Measurement[]>(subjects.map((subject) => [subject, []]));
  const failures: string[] = [];
  try {
    for (let round = 0; round < rounds; round++) {
      for (let i = 0; i < subjects.length; i++) {
        const subject = subjects[(i + round) % subjects.length]!;
        say(`${section.name}, round ${round + 1} of ${rounds}: ${subject}`);
        const measurement = await measure(subject).catch((error: Error): Measurement => {
          failures.push(`${subject}, round ${round + 1}: ${error.message}`);
          return {};
        });
        measured.get(subject)!.push(measurement);
      }
    }
  } finally {
    close?.();
  }
  const { name, title } = section;
  return { section: name, title, metrics, rounds: Object.fromEntries(measured), failures };
}

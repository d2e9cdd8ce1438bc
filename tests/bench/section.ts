import type { Hosts } from './hosts.js';

/** One row of a table. */
export interface Metric {
  readonly unit: string;
  readonly better: 'more' | 'less';
  /** How to compare subjects: by difference if zeros are possible, not at all if a comparison makes no sense. */
  readonly compare?: 'ratio' | 'difference' | 'none';
}
export type Metrics = Readonly<Record<string, Metric>>;

/** The values of one subject in one round, by metric. A value that could not be measured is absent. */
export type Measurement = Readonly<Record<string, number>>;

/** One measurement for each round, by subject. */
export type Rounds = Readonly<Record<string, readonly Measurement[]>>;

/** A part of the benchmark that can run alone. */
export interface Section {
  readonly name: string;
  readonly title: string;
  /** The default number of rounds, if not that of the other sections. */
  readonly rounds?: number;
  /** @throws LametunError if something is missing */
  prepare(hosts: Hosts): Promise<Prepared>;
}

export interface Prepared {
  readonly metrics: Metrics;
  /** The first one is compared with each other one. */
  readonly subjects: readonly string[];
  measure(subject: string): Promise<Measurement>;
  close?(): void;
}

/** The results of a section. */
export interface Results {
  readonly section: string;
  readonly title: string;
  readonly metrics: Metrics;
  readonly rounds: Rounds;
  /** Failed measurements, with the reason. */
  readonly failures?: readonly string[];
}

/**
 * Measures every subject once in each round, so that a slow phase of the machine affects all of them. Each round starts
 * with another subject, since the first one may find a cooler processor. A subject that fails has no values for that
 * round.
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

import { METRICS, type Measurement, type Metric } from './measure.js';

/** By subject, one measurement for each round. */
export type Results = Readonly<Record<string, readonly Measurement[]>>;

/** A ratio from fewer rounds than this is an accident. */
export const LEAST_ROUNDS = 3;

/** Middle, least and greatest of some numbers. */
export interface Spread {
  readonly median: number;
  readonly least: number;
  readonly most: number;
  readonly rounds: number;
}

export function spread(values: readonly number[]): Spread | undefined {
  if (values.length === 0) return undefined;
  const sorted = values.toSorted((a, b) => a - b);
  const half = sorted.length >> 1;
  const median = sorted.length % 2 === 1 ? sorted[half]! : (sorted[half - 1]! + sorted[half]!) / 2;
  return { median, least: sorted[0]!, most: sorted.at(-1)!, rounds: sorted.length };
}

export const medianOf = (results: Results, subject: string, metric: Metric): Spread | undefined =>
  spread((results[subject] ?? []).flatMap((round) => round[metric] ?? []));

/**
 * How many times as much a subject measures as another one, round by round: what slows the machine down for a
 * while slows both.
 *
 * @returns undefined where there are fewer than `LEAST_ROUNDS` rounds that have both
 */
export function ratio(results: Results, subject: string, other: string, metric: Metric): Spread | undefined {
  const ratios = (results[subject] ?? []).flatMap((round, i) => {
    const [a, b] = [round[metric], results[other]?.[i]?.[metric]];
    return a === undefined || b === undefined || b === 0 ? [] : [a / b];
  });
  return ratios.length < LEAST_ROUNDS ? undefined : spread(ratios);
}

/** The table for the terminal: a line for each metric, the subject in focus first, at the end it over each other. */
export function table(results: Results, focus: string): string {
  const others = Object.keys(results).filter((subject) => subject !== focus);
  const header = ['', focus, ...others, ...others.map((other) => `/ ${other}`)];
  const rows = (Object.keys(METRICS) as Metric[]).map((metric) => [
    `${metric}, ${METRICS[metric].unit}`,
    ...[focus, ...others].map((subject) => show(medianOf(results, subject, metric))),
    ...others.map((other) => {
      const ratios = ratio(results, focus, other, metric);
      return ratios === undefined ? '-' : `${figures(ratios.median)}x`;
    }),
  ]);
  const widths = header.map((_, column) => Math.max(...[header, ...rows].map((row) => row[column]!.length)));
  return [header, ...rows]
    .map((row) =>
      row
        .map((cell, column) => (column === 0 ? cell.padEnd(widths[0]!) : cell.padStart(widths[column]!)))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

const show = (value: Spread | undefined): string =>
  value === undefined ? '-' : `${figures(value.median)} (${figures(value.least)}-${figures(value.most)})`;

/** Three digits, for there is no more to them. */
const figures = (value: number): string =>
  value >= 1000 ? String(Math.round(value)) : String(Number(value.toPrecision(3)));

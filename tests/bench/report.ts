import type { Metric, Results, Rounds } from './section.js';

/** A ratio from fewer rounds than this means nothing. */
export const LEAST_ROUNDS = 3;

/** Median, minimum and maximum of some numbers. */
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

export const medianOf = (rounds: Rounds, subject: string, metric: string): Spread | undefined =>
  spread((rounds[subject] ?? []).flatMap((round) => round[metric] ?? []));

/**
 * The ratio or the difference of two subjects, computed within each round: a slow phase of the machine slows both.
 *
 * @returns undefined if fewer than `LEAST_ROUNDS` rounds have both
 */
export function compare(
  rounds: Rounds,
  subject: string,
  other: string,
  metric: string,
  how: Metric['compare'] = 'ratio',
): Spread | undefined {
  if (how === 'none') return undefined;
  const compared = (rounds[subject] ?? []).flatMap((round, i) => {
    const [a, b] = [round[metric], rounds[other]?.[i]?.[metric]];
    if (a === undefined || b === undefined) return [];
    if (how === 'difference') return [a - b];
    return b === 0 ? [] : [a / b];
  });
  return compared.length < LEAST_ROUNDS ? undefined : spread(compared);
}

/**
 * Tables for the terminal: a line for each metric, with the first subject and each other one, compared with the first.
 * Subjects that do not fit into `width` follow in further tables.
 */
export function tables(results: Results, width: number): string {
  const { rounds } = results;
  const isMeasured = (name: string): boolean =>
    Object.values(rounds).some((all) => all.some((round) => name in round));
  const metrics = Object.fromEntries(Object.entries(results.metrics).filter(([name]) => isMeasured(name)));
  const [focus, ...others] = Object.keys(rounds) as [string, ...string[]];
  const columns: string[][] = [
    ['', ...Object.entries(metrics).map(([name, { unit }]) => `${name}, ${unit}`)],
    [focus, ...Object.keys(metrics).map((name) => show(medianOf(rounds, focus, name)))],
    ...others.map((other) =>
      [
        other,
        ...Object.entries(metrics).map(([name, { compare: how }]) => {
          const value = medianOf(rounds, other, name);
          if (value === undefined || how === 'none') return value && show(value);
          return `${show(value)} ${showComparison(compare(rounds, focus, other, name, how), how)}`;
        }),
      ].map((cell) => cell ?? '-'),
    ),
  ];
  const [names, first, ...rest] = columns.map(padded) as [string[], string[], ...string[][]];
  const parts: string[][][] = [[names, first]];
  for (const column of rest) {
    const part = parts.at(-1)!;
    if (part.length > 2 && widthOf([...part, column]) > width) parts.push([names, first, column]);
    else part.push(column);
  }
  return parts
    .map((part) =>
      names
        .map((_, row) =>
          part
            .map((column) => column[row])
            .join('  ')
            .trimEnd(),
        )
        .join('\n'),
    )
    .join('\n\n');
}

const widthOf = (columns: readonly string[][]): number =>
  columns.reduce((sum, column) => sum + column[0]!.length + 2, -2);

/** Aligns the first column to the left, and the others to the right. */
function padded(column: readonly string[], index: number): string[] {
  const width = Math.max(...column.map((cell) => cell.length));
  return column.map((cell) => (index === 0 ? cell.padEnd(width) : cell.padStart(width)));
}

/** `1930 ±4%`: the median, and the deviation of the farthest round. */
function show(value: Spread | undefined): string {
  if (value === undefined) return '-';
  const { median, least, most, rounds } = value;
  if (rounds === 1) return figures(median);
  if (median === 0) return most === 0 ? '0' : `0 (to ${figures(most)})`;
  return `${figures(median)} ±${Math.round((Math.max(most - median, median - least) / Math.abs(median)) * 100)}%`;
}

function showComparison(value: Spread | undefined, how: Metric['compare']): string {
  if (value === undefined) return '  -  ';
  if (how === 'difference') return `${value.median < 0 ? '' : '+'}${figures(value.median)}`.padStart(5);
  return `${value.median >= 100 ? Math.round(value.median) : value.median.toPrecision(value.median < 1 ? 2 : 3)}x`.padStart(
    5,
  );
}

/** Three significant digits, or all digits before the decimal point. */
export const figures = (value: number): string =>
  Math.abs(value) >= 1000 ? String(Math.round(value)) : String(Number(value.toPrecision(3)));

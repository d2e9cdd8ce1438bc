import { compare, figures as digits, medianOf, type Spread } from './report.js';
import type { Metric, Results } from './section.js';

/** A row of the table in docs/PERFORMANCE.md. Charted rows are also a group of bars in the chart. */
interface Figure {
  readonly section: string;
  readonly metric: string;
  readonly label: string;
  readonly charted?: boolean;
}

const FIGURES: readonly Figure[] = [
  { section: 'tcp', metric: 'TCP, 1 stream, up', label: 'TCP, one stream', charted: true },
  { section: 'tcp', metric: 'TCP, 1 stream, down', label: 'TCP, one stream, the other way' },
  { section: 'tcp', metric: 'TCP, 4 streams, up', label: 'TCP, four streams' },
  {
    section: 'tcp',
    metric: 'TCP, 4 streams, down',
    label: 'TCP, four streams, the other way',
    charted: true,
  },
  { section: 'udp', metric: 'UDP of 64 bytes', label: 'UDP of 64 bytes, received', charted: true },
  { section: 'udp', metric: 'UDP of 1372 bytes', label: 'UDP of 1372 bytes, received', charted: true },
  { section: 'tcp', metric: 'CPU, 1 stream', label: 'CPU for 1368 bytes, both ends', charted: true },
  { section: 'ping', metric: 'idle, p50', label: 'ping, idle' },
  { section: 'ping', metric: 'beside TCP, p50', label: 'ping beside a TCP stream', charted: true },
  { section: 'tcp', metric: 'memory afterwards', label: 'memory of both ends under load', charted: true },
  { section: 'start', metric: 'start to an answer', label: 'start, until `wg` gets an answer' },
  { section: 'start', metric: 'print the version', label: 'printing the version' },
  { section: 'start', metric: 'memory when idle', label: 'memory, idle' },
  { section: 'start', metric: 'executable', label: 'size of the executable' },
  { section: 'peers', metric: '`wg setconf`', label: 'loading 10 000 peers' },
  { section: 'peers', metric: 'handshakes answered', label: 'handshakes answered' },
  {
    section: 'lookups',
    metric: 'CPU, 10000 peers over 1',
    label: 'CPU of a packet with 10 000 peers, against 1',
  },
  {
    section: 'plain',
    metric: 'TCP, 1 stream, up',
    label: 'the plain tunnel: TCP, one stream',
    charted: true,
  },
  {
    section: 'plain',
    metric: 'TCP, 4 streams, down',
    label: 'the plain tunnel: TCP, four streams, the other way',
  },
  { section: 'plain', metric: 'CPU, 1 stream', label: 'the plain tunnel: CPU for 1368 bytes, both ends' },
  { section: 'plain', metric: 'UDP of 64 bytes', label: 'the plain tunnel: UDP of 64 bytes, received' },
  { section: 'plain', metric: 'UDP of 1372 bytes', label: 'the plain tunnel: UDP of 1372 bytes, received' },
];

/** Subjects without a bar: the cable is not a tunnel, and the plain tunnel has its own groups. */
const LEFT_OUT: ReadonlySet<string> = new Set(['bare cable', 'lametun (plain)']);

/** One figure for each subject. Ours comes first. */
export interface Group {
  readonly label: string;
  readonly charted: boolean;
  readonly metric: Metric;
  readonly bars: readonly Bar[];
}

export interface Bar {
  readonly subject: string;
  readonly value: number;
  /** Our value divided by this one; undefined with too few rounds. */
  readonly ratio: Spread | undefined;
}

/** The figures that were measured, in order. */
export function groups(all: readonly Results[]): Group[] {
  return FIGURES.flatMap(({ section, metric: name, label, charted = false }) => {
    const results = all.find((one) => one.section === section);
    const metric = results?.metrics[name];
    if (results === undefined || metric === undefined) return [];
    const [focus, ...others] = Object.keys(results.rounds) as [string, ...string[]];
    const bars = [focus, ...others.filter((subject) => !LEFT_OUT.has(subject))].flatMap((subject) => {
      const value = medianOf(results.rounds, subject, name)?.median;
      const ratio = subject === focus ? undefined : compare(results.rounds, focus, subject, name);
      return value === undefined ? [] : [{ subject, value, ratio }];
    });
    return bars.length === 0 ? [] : [{ label, charted, metric, bars }];
  });
}

/** Two significant digits, or all digits before the decimal point: `6.9`, `0.16`, `123`. */
export const ratioText = (ratio: number): string =>
  ratio >= 10 ? String(Math.round(ratio)) : ratio.toPrecision(2);

/** The tables of docs/PERFORMANCE.md: one for the WireGuard subjects, one for the plain tunnel. */
export function markdown(all: readonly Results[]): string {
  const tables = new Map<string, Group[]>();
  for (const group of groups(all)) {
    const ours = group.bars[0]!.subject;
    tables.set(ours, [...(tables.get(ours) ?? []), group]);
  }
  return [...tables.values()].map(markdownTable).join('\n\n');
}

function markdownTable(rows: readonly Group[]): string {
  const subjects = [...new Set(rows.flatMap(({ bars }) => bars.map(({ subject }) => subject)))];
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;
  return [
    line(['', ...subjects]),
    `|${'---|'.repeat(subjects.length + 1)}`,
    ...rows.map(({ label, metric: { unit }, bars }) =>
      line([
        unit === 'x' ? label : `${label}, ${unit}`,
        ...subjects.map((subject) => {
          const bar = bars.find((one) => one.subject === subject);
          if (bar === undefined) return '';
          const ratio = bar.ratio === undefined ? '' : `, ${ratioText(bar.ratio.median)}x`;
          return `${digits(bar.value)}${ratio}`;
        }),
      ]).replaceAll('the plain tunnel: ', ''),
    ),
  ].join('\n');
}

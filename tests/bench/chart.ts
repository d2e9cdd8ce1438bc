import { medianOf } from './report.js';
import type { Results } from './section.js';

/** What the chart shows: a group of bars for each, the longest bar of a group as wide as there is room. */
const CHARTED: readonly { readonly section: string; readonly metric: string; readonly title: string }[] = [
  { section: 'tcp', metric: 'TCP, 1 stream, up', title: 'TCP, one stream' },
  { section: 'tcp', metric: 'TCP, 4 streams, down', title: 'TCP, four streams' },
  { section: 'udp', metric: 'UDP of 64 bytes', title: 'UDP of 64 bytes, received' },
  { section: 'tcp', metric: 'CPU, 1 stream', title: 'CPU, both ends (less is better)' },
  { section: 'ping', metric: 'beside TCP, p50', title: 'Ping beside a TCP stream (less is better)' },
];

const WIDTH = 760;
const NAMES = 150;
const VALUES = 110;
const BAR = 16;
const GAP = 6;
const GROUP = 34;
/** The cable has no tunnel, and its bar would leave no room for the others. */
const LEFT_OUT = 'bare cable';

/** Bars of the medians, as SVG that is readable on a light and on a dark page. */
export function chart(all: readonly Results[]): string {
  const parts: string[] = [];
  let y = 0;
  for (const { section, metric, title } of CHARTED) {
    const results = all.find((one) => one.section === section);
    if (results === undefined) continue;
    const bars = Object.keys(results.rounds).flatMap((subject) => {
      const value = subject === LEFT_OUT ? undefined : medianOf(results.rounds, subject, metric)?.median;
      return value === undefined ? [] : [{ subject, value }];
    });
    if (bars.length === 0) continue;
    const most = Math.max(...bars.map(({ value }) => value));
    y += GROUP;
    parts.push(`<text x="0" y="${y - 10}" class="title">${escapeText(title)}</text>`);
    for (const [i, { subject, value }] of bars.entries()) {
      const width = Math.max(1, (value / most) * (WIDTH - NAMES - VALUES));
      const text = `${value >= 100 ? Math.round(value) : value.toPrecision(2)} ${results.metrics[metric]!.unit}`;
      parts.push(
        `<text x="${NAMES - 8}" y="${y + BAR - 4}" class="name">${escapeText(subject)}</text>`,
        `<rect x="${NAMES}" y="${y}" width="${width.toFixed(1)}" height="${BAR}" class="${i === 0 ? 'ours' : 'other'}"/>`,
        `<text x="${(NAMES + width + 8).toFixed(1)}" y="${y + BAR - 4}" class="value">${escapeText(text)}</text>`,
      );
      y += BAR + GAP;
    }
  }
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${y + GAP}" font-family="sans-serif" font-size="12">
<style>
  text { fill: #24292f } .title { font-weight: bold } .name { text-anchor: end }
  .ours { fill: #2f81f7 } .other { fill: #8c959f }
  @media (prefers-color-scheme: dark) { text { fill: #e6edf3 } }
</style>
${parts.join('\n')}
</svg>
`;
}

const escapeText = (text: string): string => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;');

import { type Bar, type Group, groups, ratioText } from './figures.js';
import { figures as digits } from './report.js';
import type { Results } from './section.js';

/** Groups of bars are in two columns. The longest bar of a group is `BARS` wide. */
const COLUMNS = 2;
const COLUMN = 445;
const MARGIN = 20;
const NAMES = 155;
const BARS = 120;
const BAR = 14;
const GAP = 5;
/** From a group's heading to its bars, and from its bars to the next heading. */
const HEADING = 10;
const BETWEEN = 34;
const TOP = 64;
const LINE = 17;

/**
 * Draws the medians as bars, in an SVG with its own background, readable on any page, and with a text description for
 * screen readers.
 *
 * @param notes lines below the bars: the machine and the conditions
 */
export function chart(all: readonly Results[], notes: readonly string[]): string {
  const charted = groups(all).filter((group) => group.charted);
  const rows = Math.ceil(charted.length / COLUMNS);
  const parts: string[] = [];
  let bottom = TOP;
  for (let row = 0; row < rows; row++) {
    // The groups of a row begin at the same height.
    const top = bottom;
    for (const [column, group] of charted.slice(row * COLUMNS, (row + 1) * COLUMNS).entries()) {
      parts.push(...drawGroup(group, MARGIN + column * COLUMN, top));
      bottom = Math.max(bottom, top + heightOf(group));
    }
  }
  const footer = notes.map(
    (note, i) => `<text x="${MARGIN}" y="${bottom - 4 + i * LINE}" class="note">${escapeText(note)}</text>`,
  );
  const width = COLUMNS * COLUMN + MARGIN;
  const height = bottom + notes.length * LINE;
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img" aria-labelledby="title description" font-family="system-ui, 'Segoe UI', 'DejaVu Sans', sans-serif" font-size="12">
<title id="title">${TITLE}</title>
<desc id="description">${escapeText([...charted.map(inWords), ...notes].join('\n'))}</desc>
<style>
  .ground { fill: #ffffff; stroke: #d0d7de }
  text { fill: #1f2328 } .title { font-size: 16px; font-weight: 600 } .label { font-weight: 600 } .name { text-anchor: end }
  .ratio, .note { fill: #59636e } .note { font-size: 11px }
  .ours { fill: #0969da } .other { fill: #8c959f }
  @media (prefers-color-scheme: dark) {
    .ground { fill: #0d1117; stroke: #3d444d }
    text { fill: #f0f6fc } .ratio, .note { fill: #9198a1 }
    .ours { fill: #4493f8 } .other { fill: #656c76 }
  }
</style>
<rect x="0.5" y="0.5" width="${width - 1}" height="${height - 1}" rx="6" class="ground"/>
<text x="${MARGIN}" y="32" class="title">${TITLE}</text>
${[...parts, ...footer].join('\n')}
</svg>
`;
}

const TITLE = 'lametun compared with other programs';

const heightOf = ({ bars }: Group): number => HEADING + bars.length * (BAR + GAP) + BETWEEN;

function drawGroup({ label, metric, bars }: Group, left: number, top: number): string[] {
  const most = Math.max(...bars.map(({ value }) => value));
  const better = metric.better === 'less' ? ' (less is better)' : '';
  const heading = `${label[0]!.toUpperCase()}${label.slice(1)}${better}`;
  return [
    `<text x="${left}" y="${top}" class="label">${escapeText(heading)}</text>`,
    ...bars.flatMap((bar, i) => {
      const y = top + HEADING + i * (BAR + GAP);
      const text = y + BAR - 3;
      const width = Math.max(1, (bar.value / most) * BARS);
      const ratio = bar.ratio && `<tspan class="ratio" dx="8">ours ${ratioText(bar.ratio.median)}×</tspan>`;
      return [
        `<text x="${left + NAMES - 8}" y="${text}" class="name">${escapeText(bar.subject)}</text>`,
        `<rect x="${left + NAMES}" y="${y}" width="${width.toFixed(1)}" height="${BAR}" rx="2" class="${i === 0 ? 'ours' : 'other'}"/>`,
        `<text x="${(left + NAMES + width + 6).toFixed(1)}" y="${text}">${escapeText(valueText(bar, metric.unit))}${ratio ?? ''}</text>`,
      ];
    }),
  ];
}

/** Without `/packet`: the heading has the packet's size. */
const valueText = ({ value }: Bar, unit: string): string => `${digits(value)} ${unit.replace('/packet', '')}`;

/** `TCP, one stream: lametund 3981 Mbit/s; wireguard-go 603 Mbit/s (ours 6.6×).` */
function inWords({ label, metric, bars }: Group): string {
  const all = bars.map((bar) => {
    const ratio = bar.ratio && ` (ours ${ratioText(bar.ratio.median)}×)`;
    return `${bar.subject} ${valueText(bar, metric.unit)}${ratio ?? ''}`;
  });
  return `${label}${metric.better === 'less' ? ', less is better' : ''}: ${all.join('; ')}.`;
}

const escapeText = (text: string): string =>
  text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');

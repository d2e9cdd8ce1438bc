import assert from 'node:assert/strict';
import { test } from 'node:test';
import { chart } from './chart.js';
import { groups, markdown } from './figures.js';
import type { Results } from './section.js';

const NAME = 'TCP, 1 stream, up';
const rounds = (...values: number[]) => values.map((value) => ({ [NAME]: value }));
const results = (section: string, of: Results['rounds']): Results => ({
  section,
  title: '',
  metrics: { [NAME]: { unit: 'Mbit/s', better: 'more' } },
  rounds: of,
});

const TCP = results('tcp', {
  lametund: rounds(2000, 1000, 3000),
  'a & b': rounds(500, 250, 1000),
  'bare cable': rounds(12_000, 12_000, 12_000),
  'lametun (plain)': rounds(1, 1, 1),
});
const PLAIN = results('plain', { 'lametun (plain)': rounds(4000), naive: rounds(400) });

test('each tunnel has a bar, ours in its own color, and the cable has none', () => {
  const svg = chart([TCP], []);
  const bars = [...svg.matchAll(/<rect .*width="([\d.]+)".*class="(ours|other)"/g)];
  assert.deepEqual(
    bars.map(([, width, kind]) => [width, kind]),
    [
      ['120.0', 'ours'],
      ['30.0', 'other'],
    ],
  );
});

test('the chart has a text description for screen readers', () => {
  const svg = chart([TCP, PLAIN], ['measured <here>']);
  assert.match(svg, /role="img" aria-labelledby="title description"/);
  assert.match(svg, /<title id="title">[^<]+<\/title>/);
  const [, description] = /<desc id="description">([^<]*)<\/desc>/.exec(svg)!;
  assert.deepEqual(description!.split('\n'), [
    'TCP, one stream: lametund 2000 Mbit/s; a &amp; b 500 Mbit/s (ours 4.0×).',
    'the plain tunnel: TCP, one stream: lametun (plain) 4000 Mbit/s; naive 400 Mbit/s.',
    'measured &lt;here&gt;',
  ]);
});

test('with fewer than three rounds neither chart nor table shows a ratio', () => {
  assert.doesNotMatch(chart([PLAIN], []), /ours \d/);
  assert.match(chart([TCP], []), /ours 4\.0×/);
  assert.match(markdown([PLAIN]), /^\| TCP, one stream, Mbit\/s \| 4000 \| 400 \|$/m);
  assert.equal(groups([TCP])[0]!.bars[1]!.ratio?.rounds, 3);
});

test('WireGuard and the plain tunnel have separate tables', () => {
  assert.equal(
    markdown([TCP, PLAIN]),
    `|  | lametund | a & b |
|---|---|---|
| TCP, one stream, Mbit/s | 2000 | 500, 4.0x |

|  | lametun (plain) | naive |
|---|---|---|
| TCP, one stream, Mbit/s | 4000 | 400 |`,
  );
});

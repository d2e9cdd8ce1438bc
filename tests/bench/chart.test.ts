import assert from 'node:assert/strict';
import { test } from 'node:test';
import { chart } from './chart.js';

const metrics = { 'TCP, 1 stream, up': { unit: 'Mbit/s', better: 'more' } } as const;
const once = (value: number) => [{ 'TCP, 1 stream, up': value }];

test('a bar for each tunnel, ours in its own colour, and none for the cable', () => {
  const rounds = { lametund: once(2000), 'a & b': once(500), 'bare cable': once(12_000) };
  const svg = chart([{ section: 'tcp', title: '', metrics, rounds }]);
  const widths = [...svg.matchAll(/<rect .*width="([\d.]+)".*class="(\w+)"/g)].map(([, width, kind]) => [
    width,
    kind,
  ]);
  assert.deepEqual(widths, [
    ['500.0', 'ours'],
    ['125.0', 'other'],
  ]);
  assert.match(svg, /a &amp; b/);
  assert.match(svg, /2000 Mbit\/s/);
});

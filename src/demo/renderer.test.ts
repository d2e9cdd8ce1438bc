import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { stripVTControlCharacters } from 'node:util';
import { readRecording } from './demo.js';
import type { PacketEvent } from './events.js';
import { type Look, parseText, span, width, wrap } from './paint.js';
import { lookOf } from './player.js';
import { Renderer } from './renderer.js';

const PLAIN: Look = { width: 80, colors: 'none', unicode: true };

/** Captured in the demo: a ping before and after the NAT. */
const INSIDE =
  '0000080045000054b6ac4000400187480a000002c0a8320a0800eddd00620002' +
  '0732046b000000003f4e000000000000101112131415161718191a1b1c1d1e1f' +
  '202122232425262728292a2b2c2d2e2f3031323334353637';
const BEFORE = `45000074ce3e400040116e75c0a80117cb00710504d204d20060efc4${INSIDE}`;
const AFTER = `45000074ce3e40003f1106fac6336407cb007105f19a04d200609a80${INSIDE}`;

const packet: PacketEvent = {
  kind: 'packet',
  station: 3,
  place: 'the internet',
  bytes: AFTER,
  before: BEFORE,
  remarks: ['The router changed the sender.'],
};

test('a packet is drawn as nested boxes, with changes marked', () => {
  const golden = readFileSync('src/demo/packet.golden.txt', 'utf8');
  assert.equal(new Renderer(PLAIN).render(packet), golden);
});

for (const look of [PLAIN, { ...PLAIN, unicode: false }, { ...PLAIN, colors: '256' as const }]) {
  test(`no line of the lesson is wider than 80 columns (${JSON.stringify(look)})`, () => {
    const renderer = new Renderer(look);
    const { events } = readRecording();
    assert.ok(events.length > 40);
    for (const event of events) {
      for (const line of stripVTControlCharacters(renderer.render(event)).split('\n')) {
        assert.ok([...line].length <= 80, line);
      }
    }
  });
}

test('without UTF-8 the lesson is pure ASCII, and no character becomes a question mark', () => {
  const render = (look: Look): string => {
    const renderer = new Renderer(look);
    return readRecording()
      .events.map((event) => renderer.render(event))
      .join('');
  };
  const ascii = render({ ...PLAIN, unicode: false });
  assert.match(ascii, /^[\n\x20-\x7e]*$/);
  assert.equal(ascii.split('?').length, render(PLAIN).split('?').length);
});

test('without colors there are no escape sequences, and with colors each one is reset', () => {
  assert.ok(!new Renderer(PLAIN).render(packet).includes('\x1b'));
  const colorful = new Renderer({ ...PLAIN, colors: '256' }).render(packet);
  assert.ok(colorful.includes('\x1b[38;5;'));
  assert.equal(stripVTControlCharacters(colorful), new Renderer(PLAIN).render(packet));
  const codes = (line: string): string[] =>
    line
      .split('\x1b[')
      .slice(1)
      .map((rest) => rest.split('m')[0]!);
  for (const line of colorful.split('\n')) {
    const last = codes(line).at(-1);
    if (last !== undefined) assert.ok(['22', '27', '39'].includes(last), JSON.stringify(line));
  }
});

test('text is wrapped between words, and marked phrases are not split', () => {
  const lines = wrap(parseText('it is `10.0.0.2`, and *not* another'), 14);
  assert.deepEqual(
    lines.map((line) =>
      line
        .map(({ text }) => text)
        .join('')
        .trimEnd(),
    ),
    ['it is', '10.0.0.2, and', 'not another'],
  );
  assert.deepEqual(wrap([span('abcdef')], 4).map(width), [4, 2]);
});

test('the look follows the terminal and the environment', () => {
  const utf8 = { LANG: 'de_DE.UTF-8', TERM: 'xterm-256color' };
  assert.deepEqual(lookOf({ isTTY: true }, utf8), { width: 80, colors: '256', unicode: true });
  assert.equal(lookOf({ isTTY: true }, { ...utf8, TERM: 'linux' }).colors, '16');
  assert.equal(lookOf({ isTTY: true }, { ...utf8, NO_COLOR: '1' }).colors, 'none');
  assert.equal(lookOf({ isTTY: true }, { ...utf8, TERM: 'dumb' }).colors, 'none');
  assert.equal(lookOf({}, utf8).colors, 'none');
  assert.equal(lookOf({}, { LANG: 'C' }).unicode, false);
  assert.equal(lookOf({}, { LANG: 'C', LC_ALL: 'C.UTF-8' }).unicode, true);
});

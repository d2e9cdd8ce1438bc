import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readRecording } from './demo.js';
import { LATEST, Pace, readingTime } from './pace.js';
import { Pages, type Part } from './pages.js';
import { Renderer } from './renderer.js';

const FOREVER = Number.POSITIVE_INFINITY;

test('text takes a quarter of a second per word', () => {
  assert.equal(readingTime({ kind: 'text', text: 'It makes `tun0` and listens.' }), 1250);
  assert.equal(readingTime({ kind: 'scene', id: 'end', title: 'What a VPN is' }), 1000);
});

test('program output takes time per line', () => {
  const time = (text: string): number => readingTime({ kind: 'output', text });
  assert.equal(time('a\nb\nc'), 3 * time('a'));
});

test('a packet takes a fixed time, plus the time to read its remarks', () => {
  const packet = { kind: 'packet', place: 'here', bytes: '' } as const;
  const more = readingTime({ ...packet, remarks: ['The TTL is one less.'] }) - readingTime(packet);
  assert.ok(readingTime(packet) > 0);
  assert.equal(more, 1250);
});

test('the lesson continues when everything shown has been read', () => {
  const pace = new Pace(1000, false);
  pace.shown(500, 1000);
  pace.shown(700, 1100); // the reader is still at the first text
  assert.equal(pace.left(1100), 1100);
  assert.equal(pace.left(2199), 1);
  assert.equal(pace.left(2200), 0);
});

test('reading begins when something is shown, not before', () => {
  const pace = new Pace(0, false);
  pace.shown(500, 0);
  pace.shown(500, 9000);
  assert.equal(pace.left(9000), 500);
});

test('Enter continues at once, and the next event gets its full time', () => {
  const pace = new Pace(0, false);
  pace.shown(500, 0);
  pace.skip(100);
  assert.equal(pace.left(100), 0);
  pace.shown(300, 150);
  assert.equal(pace.left(150), 300);
});

test('a pause does not use up reading time', () => {
  const pace = new Pace(0, false);
  pace.shown(500, 0);
  pace.togglePause(200);
  assert.ok(pace.paused);
  assert.equal(pace.left(1_000_000), FOREVER);
  pace.togglePause(1_000_000);
  assert.equal(pace.left(1_000_000), 300);
});

test('text shown during a pause is read after it', () => {
  const pace = new Pace(0, false);
  pace.shown(500, 0);
  pace.togglePause(100);
  pace.shown(200, 5000);
  pace.togglePause(6000);
  assert.equal(pace.left(6000), 600);
});

test('Enter ends a pause', () => {
  const pace = new Pace(0, false);
  pace.shown(500, 0);
  pace.togglePause(100);
  pace.skip(90_000);
  assert.ok(!pace.paused);
  assert.equal(pace.left(90_000), 0);
});

test('all waiting ends three minutes after the start, not counting pauses', () => {
  const pace = new Pace(0, false);
  pace.shown(10 * LATEST, 0);
  assert.equal(pace.left(0), LATEST);
  assert.ok(LATEST < 180_000);
  pace.togglePause(1000);
  pace.togglePause(61_000);
  assert.equal(pace.left(61_000), LATEST - 1000);
});

test('with --step, each stop waits for a key forever', () => {
  const pace = new Pace(0, true);
  for (const press of ['skip', 'togglePause'] as const) {
    pace.shown(500, 0);
    assert.equal(pace.left(1e9), FOREVER);
    pace[press](1e9);
    assert.ok(!pace.paused);
    assert.equal(pace.left(1e9), 0);
  }
});

test('a key that was pressed before a stop does not skip it', () => {
  const pace = new Pace(0, true);
  pace.skip(0);
  pace.shown(500, 10);
  assert.equal(pace.left(10), FOREVER);
});

test('text that fits is added to the screen; other text starts the next screen without its blank line', () => {
  const pages = new Pages();
  const parts = [
    pages.place(['a', 'b'], 4, false),
    pages.place(['', 'c'], 4, false),
    pages.place(['', 'd'], 4, false),
    pages.place(['', 'e'], 4, true),
  ].flat();
  assert.deepEqual(parts, [
    { fresh: false, lines: ['a', 'b'] },
    { fresh: false, lines: ['', 'c'] },
    { fresh: true, lines: ['d'] },
    { fresh: true, lines: ['e'] },
  ]);
  assert.equal(pages.used, 1);
});

test('text longer than a screen is split without loss', () => {
  const pages = new Pages();
  pages.place(['heading'], 3, true);
  const parts = pages.place(['1', '2', '3', '4', '5', '6', '7'], 3, false);
  assert.deepEqual(
    parts.map(({ lines }) => lines),
    [['1', '2', '3'], ['4', '5', '6'], ['7']],
  );
  assert.ok(parts.every(({ fresh }) => fresh));
  assert.equal(pages.used, 1);
});

/** The recorded lesson on screens with this many usable rows. */
function screens(rows: number): string[][] {
  const renderer = new Renderer({ width: 80, colors: 'none', unicode: true });
  const pages = new Pages();
  const all: string[][] = [[]];
  const put = ({ fresh, lines }: Part): void => {
    if (fresh) all.push([]);
    all.at(-1)!.push(...lines);
  };
  for (const event of readRecording().events) {
    for (const part of pages.place(renderer.render(event).split(/(?<=\n)/), rows, event.kind === 'scene'))
      put(part);
  }
  return all;
}

for (const rows of [23, 39]) {
  test(`the lesson fits screens of ${rows} usable rows, and no box is split`, () => {
    const all = screens(rows);
    assert.ok(all.length >= 12);
    for (const screen of all) {
      const text = screen.join('');
      assert.ok(screen.length <= rows, text);
      assert.ok(/\S/.test(screen[0]!), 'a screen begins with a blank line');
      assert.equal(text.split(/^ {2}┌/m).length, text.split(/^ {2}└/m).length, text);
    }
  });
}

test('unattended, the lesson takes two to three minutes', () => {
  const { events } = readRecording();
  const total = events.reduce((sum, event) => sum + readingTime(event), 0);
  const last = events.slice(events.findLastIndex(({ kind }) => kind === 'scene')); // the lesson ends there without waiting
  const waited = total - last.reduce((sum, event) => sum + readingTime(event), 0);
  assert.ok(waited > 120_000 && waited < 170_000, `${waited} ms`);
});

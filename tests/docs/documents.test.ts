import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { commandGroups } from '../../src/cli/commands.js';
import { ROOMS } from '../graph/rooms.js';
import { fillIn } from '../wire/blocks.js';
import { SAMPLES } from './samples.js';

const PAGES: readonly string[] = [
  ...['README.md', 'CONTRIBUTING.md', 'CHANGELOG.md'],
  ...readdirSync('docs', { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.md'))
    .map((file) => join('docs', file)),
];
const read = (file: string): string => readFileSync(file, 'utf8');
const section = (text: string, heading: string): string =>
  new RegExp(`\n${heading}\n[\\s\\S]*?(?=\n## |$)`).exec(text)?.[0] ?? assert.fail(`no section "${heading}"`);

for (const [file, blocks] of Object.entries(SAMPLES))
  test(`the samples in ${file} match the program's output (if not: npm run samples)`, () => {
    const document = read(file);
    assert.equal(document, fillIn(document, blocks(), 'sample'));
  });

test('the README has at most 150 lines', () => {
  assert.ok(read('README.md').trimEnd().split('\n').length <= 150);
});

/** The anchors that GitHub generates for the headings of a page. */
const anchorsOf = (text: string): readonly string[] =>
  [...text.matchAll(/^#+ (.*)$/gm)].map(([, heading]) =>
    heading!
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N} _-]/gu, '')
      .replaceAll(' ', '-'),
  );

test('every link to a file or heading of this repository works', () => {
  const links = PAGES.flatMap((page) =>
    [...read(page).matchAll(/\]\(([^)\s]+)\)/g)].map(([, link]) => ({ page, link: link! })),
  ).filter(({ link }) => !/^https?:/.test(link));
  assert.ok(links.length > 20);
  for (const { page, link } of links) {
    const [path = '', anchor] = link.split('#');
    const target = path === '' ? page : join(dirname(page), path);
    assert.ok(existsSync(target), `${page} links to ${link}`);
    if (anchor !== undefined) assert.ok(anchorsOf(read(target)).includes(anchor), `${page} links to ${link}`);
  }
});

test('every source file named in a page exists', () => {
  const named = PAGES.filter((page) => page !== 'CHANGELOG.md').flatMap((page) =>
    [...read(page).matchAll(/`((?:[\w.-]+\/)+[\w.-]+\.ts)`/g)].map(([, file]) => ({ page, file: file! })),
  );
  assert.ok(named.length > 50);
  for (const { page, file } of named)
    assert.ok(existsSync(join('src', file)) || existsSync(file), `${page} names ${file}`);
});

const networkOptions = commandGroups()
  .slice(0, 3)
  .flatMap(({ commands }) => commands)
  .flatMap((command) => command.options.map(({ long }) => ({ command: command.name(), long: long! })));

test('docs/NETWORKS.md lists exactly the options of all commands', () => {
  const text = section(read('docs/NETWORKS.md'), '## All options');
  const rows = text.split('\n').filter((line) => line.startsWith('|'));
  for (const { command, long } of networkOptions) {
    if (['--state', '--json'].includes(long)) continue; // every command has these
    const inTable = rows.some(
      (row) => new RegExp(`\`[^|]*${long}\\b`).test(row) && row.split('|')[2]!.includes(`\`${command}\``),
    );
    assert.ok(inTable, `no row lists ${long} of ${command}`);
  }
  const known = new Set(networkOptions.map(({ long }) => long));
  for (const [, option] of text.matchAll(/(--[a-z][a-z-]+)/g)) {
    if (option !== '--help') assert.ok(known.has(option!), `${option} does not exist`);
  }
});

test('the program prints every message that docs/NETWORKS.md explains', () => {
  const sources = readdirSync('src', { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.ts') && !file.endsWith('.test.ts'))
    .map((file) => read(join('src', file)))
    .join('\n');
  const rows = section(read('docs/NETWORKS.md'), '## When it does not work').split('\n').slice(4);
  const messages = rows.flatMap((row) =>
    [...(row.split('|')[1] ?? '').matchAll(/`([^`]+)`/g)].map(([, message]) => message!),
  );
  assert.ok(messages.length > 8);
  for (const message of messages)
    for (const fragment of message.split('...').map((part) => part.trim()))
      assert.ok(sources.includes(fragment), `nothing prints "${fragment}"`);
});

test('the table of rooms in docs/ARCHITECTURE.md lists what each room may import', () => {
  const [, rows = ''] = /\n\| room \|.*\n\|-.*\n([\s\S]*?)\n\n/.exec(read('docs/ARCHITECTURE.md')) ?? [];
  const listed = new Map(
    rows.split('\n').map((row) => [/`(\w+)\/`/.exec(row)?.[1], row.split('|')[3] ?? '']),
  );
  for (const { name, mayImport } of ROOMS) {
    const cell = listed.get(name) ?? assert.fail(`no row for ${name}`);
    const named = cell.includes('every room')
      ? ROOMS.map((room) => room.name).filter((room) => room !== name)
      : [...cell.matchAll(/`(\w+)`/g)].map(([, room]) => room!);
    assert.deepEqual(named.toSorted(), mayImport.toSorted(), name);
  }
});

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { commandTexts, plainTexts } from '../../packaging/docs/definitions.js';
import { manualPages } from '../../packaging/docs/pages.js';
import { releaseDate } from '../../packaging/docs/release-date.js';
import { DETAILS } from '../../src/cli/details.js';
import { needs } from '../kit/requirements.js';

const PAGES = manualPages({ program: 'lametun 1.2.3', date: '2026-12-01' });
const COMMANDS = commandTexts().filter(({ name }) => name !== 'help');

/** How often a page explains an option: the lines after `.TP` that name it. */
function explained(page: string, name: string): number {
  const terms = [...page.matchAll(/^\.TP\n(.*)$/gm)].map(([, term]) =>
    term!.replaceAll(/\\f[BIR]|\\(?=-)/g, ''),
  );
  return terms.filter((term) => term.split(', ').some((each) => each.split(' ')[0] === name)).length;
}

test('each command has a page, which explains each of its options and arguments once', () => {
  const names = COMMANDS.map(({ name }) => `lametun-${name}.1`);
  assert.deepEqual([...PAGES.keys()].sort(), [...names, 'lametun.1', 'lametund.8'].sort());
  for (const { name, options, args } of COMMANDS) {
    const page = PAGES.get(`lametun-${name}.1`)!;
    assert.ok(options.length > 0);
    for (const each of [...options.flatMap(({ names }) => names), ...args.map(({ name }) => name)])
      assert.equal(explained(page, each), 1, `${each} in ${name}`);
  }
  const main = PAGES.get('lametun.1')!;
  for (const { name } of COMMANDS) assert.equal(explained(main, name), 1, name);
  for (const { names } of plainTexts()) assert.equal(explained(main, names[0]!), 1, names[0]);
});

test('a hidden option has no place in a page, and one that appears twice is found', () => {
  const page = PAGES.get('lametun-demo.1')!;
  assert.equal(explained(page, '--record'), 0);
  assert.equal(explained(page + page, '--keep'), 2);
});

test('each command has details, and each page that these mention exists', () => {
  assert.deepEqual(Object.keys(DETAILS).sort(), COMMANDS.map(({ name }) => name).sort());
  const text = [...PAGES.values()].join('\n').replaceAll('\\-', '-');
  const mentioned = new Set(
    [...text.matchAll(/^\.BR (lametun\S*) \((\d)\)/gm)].map(([, name, n]) => `${name}.${n}`),
  );
  assert.deepEqual([...mentioned].sort(), [...PAGES.keys()].sort());
});

test('npm installs every page', () => {
  const { man } = JSON.parse(readFileSync('package.json', 'utf8')) as { man: string[] };
  assert.deepEqual(man, [...PAGES.keys()].map((name) => `dist/man/${name}`).sort());
});

test('pages have the date of the newest release, or of SOURCE_DATE_EPOCH', () => {
  const changelog = '## [Unreleased]\n\n## [0.2.0] - 2027-01-31\n\n## [0.1.0] - 2026-12-24\n';
  assert.equal(releaseDate(changelog, undefined), '2027-01-31');
  assert.equal(releaseDate(changelog, '1796083200'), '2026-12-01');
  assert.equal(releaseDate('## [Unreleased]\n', undefined), '');
  assert.match(PAGES.get('lametun.1')!, /^\.TH LAMETUN 1 "2026-12-01" "lametun 1\.2\.3"/);
});

/** Writes the pages to a folder. */
function written(t: TestContext, pages: ReadonlyMap<string, string>): string[] {
  const folder = mkdtempSync(join(tmpdir(), 'lametun-man-'));
  t.after(() => rmSync(folder, { recursive: true }));
  return [...pages].map(([name, text]) => {
    writeFileSync(join(folder, name), text);
    return join(folder, name);
  });
}

for (const [program, args] of [
  ['mandoc', ['-T', 'lint', '-W', 'warning']],
  ['groff', ['-man', '-T', 'utf8', '-ww', '-z']],
] as const) {
  test(`${program} has no warning about a page, and has one about a broken page`, (t) => {
    if (!needs(t, program)) return;
    const lint = (files: readonly string[]): string => {
      const { stdout, stderr } = spawnSync(program, [...args, ...files], { encoding: 'utf8' });
      return stdout + stderr;
    };
    assert.equal(lint(written(t, PAGES)), '');
    assert.notEqual(lint(written(t, new Map([['x.1', '.TH X 1 2026-12-01\n.SH NAME\nx\n.XYZ\n']]))), '');
  });
}

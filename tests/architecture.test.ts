import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { drawRooms } from './graph/draw.js';
import { unusedExports } from './graph/exports.js';
import { countArrows, findCycle, readSources, roomOf } from './graph/imports.js';
import { FLOORS, FOLDERS, PURE_FOLDERS, ROOMS } from './graph/rooms.js';

const sources = readSources();
const product = sources.filter(({ isTest }) => !isTest);

test('the import scanner finds imports', () => {
  assert.ok(sources.length > 20);
  assert.ok(sources.some(({ imports }) => imports.includes('koffi')));
  const paths = new Set(sources.map(({ path }) => path));
  for (const { path, imports } of product)
    for (const target of imports)
      assert.ok(!target.startsWith('src/') || paths.has(target), `${path} imports ${target}`);
});

test('tests/graph/rooms.ts and docs/ARCHITECTURE.md list exactly the rooms of src/', () => {
  const folders = readdirSync('src', { withFileTypes: true }).filter((entry) => entry.isDirectory());
  const rooms = folders.map(({ name }) => name).sort();
  assert.deepEqual(ROOMS.map(({ name }) => name).sort(), rooms);
  const [table = ''] = /\n\| room \|.*?\n\n/s.exec(readFileSync('docs/ARCHITECTURE.md', 'utf8')) ?? [];
  assert.deepEqual([...table.matchAll(/^\| `(\w+)\/` \|/gm)].map(([, room]) => room).sort(), rooms);
});

test('rooms import only the rooms they may import', () => {
  for (const { path, room, isTest, imports } of sources) {
    const allowed = ROOMS.find(({ name }) => name === room)?.mayImport ?? [];
    for (const target of imports) {
      if (target.startsWith('tests/')) assert.ok(isTest, `${path} must not import ${target}`);
      const other = roomOf(target);
      if (other === undefined || other === room) continue; // src/errors.ts is for everyone
      assert.ok(allowed.includes(other), `${path} must not import from ${other}/`);
    }
  }
});

test('rooms may import only rooms of lower floors', () => {
  const below = new Set<string>();
  for (const floor of FLOORS) {
    for (const { name, mayImport } of floor)
      for (const target of mayImport) assert.ok(below.has(target), `${name} must not import from ${target}`);
    for (const { name } of floor) below.add(name);
  }
});

test('folders import only the folders they may import', () => {
  for (const [folder, allowed] of Object.entries(FOLDERS)) {
    const files = product.filter(({ path }) => dirname(path) === `src/${folder}`);
    assert.ok(files.length > 0, `src/${folder} is empty`);
    for (const { path, imports } of files) {
      for (const target of imports) {
        const other = /^src\/(.+)\/[^/]+$/.exec(target)?.[1];
        if (other === undefined || other === folder) continue;
        assert.ok(allowed.includes(other), `${path} must not import from ${other}/`);
      }
    }
  }
});

test('there are no import cycles', () => {
  assert.deepEqual(
    findCycle(
      new Map([
        ['a', ['b', 'c']],
        ['b', []],
        ['c', ['d']],
        ['d', ['b', 'c']],
      ]),
    ),
    ['c', 'd', 'c'],
  );
  const cycle = findCycle(new Map(product.map(({ path, imports }) => [path, imports])));
  assert.equal(cycle, undefined, cycle?.join(' -> '));
});

/** Exports for programs that use this package as a library. */
const FOR_THE_LIBRARY = ['src/wireguard/data-path.ts: DataPath'];

test('every export is used in another file', () => {
  assert.deepEqual(unusedExports(), FOR_THE_LIBRARY);
});

test('each room has at most a quarter of the lines', () => {
  const lines = (room?: string): number =>
    product.reduce((sum, file) => sum + (room === undefined || file.room === room ? file.lines : 0), 0);
  for (const { name } of ROOMS)
    assert.ok(lines(name) <= lines() / 4, `${name} has ${lines(name)} of ${lines()}`);
});

test('rooms import only their own packages, and pure rooms import no Node modules', () => {
  for (const { path, room, isTest, imports } of sources) {
    const { pure, packages = [] } = ROOMS.find(({ name }) => name === room) ?? {};
    for (const target of imports) {
      if (target.includes('/') && /^(src|tests)\//.test(target)) continue;
      const isPure = pure || PURE_FOLDERS.some((folder) => path.startsWith(`src/${folder}/`));
      const allowed = target.startsWith('node:') ? !isPure || isTest : packages.includes(target);
      assert.ok(allowed || (isTest && target === 'fast-check'), `${path} must not import ${target}`);
    }
  }
});

test('docs/rooms.svg is up to date (if not: npm run graph)', () => {
  const picture = readFileSync(join('docs', 'rooms.svg'), 'utf8');
  assert.equal(picture, drawRooms(countArrows(sources).keys()));
});

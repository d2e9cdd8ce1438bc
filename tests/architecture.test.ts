import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { test } from 'node:test';

/** Which rooms of src/ may import which; `docs/ARCHITECTURE.md` says why. An absent pair is forbidden. */
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  ip: [],
  wireguard: ['ip'],
  protocol: ['ip', 'wireguard'],
  linux: ['ip'],
  crypto: ['ip', 'wireguard', 'linux'],
  packets: ['ip', 'linux'],
  plain: ['ip', 'linux', 'packets'],
  tunnel: ['ip', 'wireguard', 'protocol', 'linux', 'crypto', 'packets'],
  device: ['ip', 'wireguard', 'protocol', 'linux', 'crypto', 'packets', 'tunnel'],
  node: ['ip', 'wireguard', 'protocol', 'linux', 'crypto', 'packets', 'tunnel', 'device'],
  hub: ['ip', 'wireguard', 'protocol', 'linux', 'crypto', 'packets'],
  demo: ['ip', 'linux', 'plain'],
  cli: [
    'ip',
    'wireguard',
    'protocol',
    'linux',
    'crypto',
    'packets',
    'tunnel',
    'device',
    'plain',
    'demo',
    'node',
    'hub',
  ],
};

/** Which packages a room may import; every other one may import none. `node:` is for rooms that do I/O. */
const MAY_USE: Readonly<Record<string, readonly string[]>> = {
  linux: ['koffi'],
  crypto: ['koffi', '@noble/ciphers/chacha.js'],
  cli: ['commander', 'picocolors'],
  demo: ['picocolors'],
  protocol: ['valibot'],
  hub: ['ws', 'kysely', 'pg', 'node-sqlite3-wasm'],
  node: ['ws', 'dns-packet', 'valibot'],
};
const PURE = ['ip', 'wireguard', 'protocol'];

interface Import {
  readonly file: string;
  readonly room: string;
  readonly specifier: string;
}

const root = process.cwd();
const imports: readonly Import[] = readdirSync('src', { recursive: true, encoding: 'utf8' })
  .filter((file) => file.endsWith('.ts') && file.includes('/'))
  .flatMap((file) =>
    [...readFileSync(join('src', file), 'utf8').matchAll(/(?:from|import|import\()\s*'([^']+)'/g)].map(
      ([, specifier]) => ({ file: join('src', file), room: file.split('/')[0]!, specifier: specifier! }),
    ),
  );
const isTest = (file: string): boolean => file.endsWith('.test.ts');

test('the import scanner finds imports', () => {
  assert.ok(imports.length > 20);
  assert.ok(imports.some(({ specifier }) => specifier === 'koffi'));
});

test('every room is listed, here and in docs/ARCHITECTURE.md, and nothing else is', () => {
  const folders = readdirSync('src', { withFileTypes: true }).filter((entry) => entry.isDirectory());
  const rooms = folders.map(({ name }) => name).sort();
  assert.deepEqual(Object.keys(MAY_IMPORT).sort(), rooms);
  const [table = ''] = /\n\| room \|.*?\n\n/s.exec(readFileSync('docs/ARCHITECTURE.md', 'utf8')) ?? [];
  assert.deepEqual([...table.matchAll(/^\| `(\w+)\/` \|/gm)].map(([, room]) => room).sort(), rooms);
});

test('rooms import only the rooms they may', () => {
  for (const { file, room, specifier } of imports) {
    if (!specifier.startsWith('.')) continue;
    const path = relative(root, join(root, file, '..', specifier)).split('/');
    if (path[0] !== 'src' || path.length === 2) continue; // src/errors.ts is for everyone; tests use tests/kit/
    const target = path[1]!;
    const allowed = [room, ...MAY_IMPORT[room]!];
    assert.ok(allowed.includes(target), `${file} must not import from ${target}/`);
  }
});

test('only the room that needs a package imports it', () => {
  for (const { file, room, specifier } of imports) {
    if (specifier.startsWith('.') || specifier.startsWith('node:')) continue;
    if (isTest(file) && specifier === 'fast-check') continue;
    assert.ok(MAY_USE[room]?.includes(specifier), `${file} must not import ${specifier}`);
  }
});

test('the pure rooms know no I/O', () => {
  for (const { file, room, specifier } of imports) {
    if (!PURE.includes(room) || isTest(file)) continue;
    assert.ok(!specifier.startsWith('node:'), `${file} must not import ${specifier}`);
  }
});

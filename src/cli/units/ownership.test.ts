import assert from 'node:assert/strict';
import type { lstatSync } from 'node:fs';
import { test } from 'node:test';
import { checkOwnedByRoot } from './ownership.js';

/** Everything belongs to root, but for these. */
const machine = (others: Readonly<Record<string, { uid?: number; mode?: number }>>) =>
  ((path: string) => ({ uid: 0, mode: 0o755, ...others[path] })) as unknown as typeof lstatSync;

const FILES = ['/usr/bin/node', '/opt/lametun/main.js'];

test('an installed program passes', () => {
  assert.doesNotThrow(() => checkOwnedByRoot(FILES, machine({})));
});

test('what another user owns or may write is refused, at every level, with advice', () => {
  const refused = (path: string, is: { uid?: number; mode?: number }): string => {
    try {
      checkOwnedByRoot(FILES, machine({ [path]: is }));
    } catch (error) {
      return (error as Error).message;
    }
    return '';
  };
  for (const path of ['/', '/opt', '/opt/lametun', '/opt/lametun/main.js', '/usr/bin', '/usr/bin/node']) {
    assert.match(refused(path, { uid: 1000 }), /^--install: .* user 1000 owns .*docs\/INSTALL\.md/, path);
    assert.match(refused(path, { mode: 0o775 }), /users other than root can write/, path);
    assert.match(refused(path, { mode: 0o1777 }), /users other than root can write/, path);
  }
  assert.equal(refused('/home', { uid: 1000 }), '');
});

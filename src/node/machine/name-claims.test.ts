import assert from 'node:assert/strict';
import { test } from 'node:test';
import { NameClaims, type Renaming } from './name-claims.js';

/** Nodes 1, 2, 3 ... have the names a, b, c ...; `1:a>b` renames node 1 from a to b. */
function renamed(names: string, ...wishes: readonly string[]): string {
  const claims = new NameClaims();
  [...names].forEach((name, i) => {
    claims.take(name, i + 1);
  });
  const renamings = wishes.map((text): Renaming => {
    const [, id, from, to] = /^(\d):(\w)>(\w)$/.exec(text)!;
    return { id: Number(id), from: from!, to: to! };
  });
  const kept = claims.rename(renamings);
  const now = [...names].map((name, i) => {
    const wish = renamings.find(({ id }) => id === i + 1);
    return wish === undefined || kept.has(i + 1) ? name : wish.to;
  });
  now.forEach((name, i) => {
    assert.equal(claims.ownerOf(name), i + 1, `${name} is ${i + 1}'s`);
  });
  for (const name of 'abcdefxyz') if (!now.includes(name)) assert.equal(claims.ownerOf(name), undefined);
  return now.join('');
}

test('a free name can be taken, and the old name becomes free', () => {
  assert.equal(renamed('ab', '1:a>x'), 'xb');
});

test('a name in use cannot be taken', () => {
  assert.equal(renamed('ab', '1:a>b'), 'ab');
});

test('names can be swapped or rotated, in any order', () => {
  assert.equal(renamed('ab', '1:a>b', '2:b>a'), 'ba');
  assert.equal(renamed('abc', '1:a>b', '2:b>c', '3:c>a'), 'bca');
  assert.equal(renamed('abc', '3:c>x', '1:a>b', '2:b>c'), 'bcx');
});

test('a node that wants a name that is not given up keeps its own name', () => {
  assert.equal(renamed('abcd', '1:a>b', '2:b>c', '3:c>d'), 'abcd');
  assert.equal(renamed('abcd', '3:c>d', '2:b>c', '1:a>b'), 'abcd');
});

test('of two nodes that want the same name, the first gets it', () => {
  assert.equal(renamed('ab', '1:a>x', '2:b>x'), 'xb');
  assert.equal(renamed('abc', '1:a>x', '2:b>x', '3:c>b'), 'xbc');
});

import assert from 'node:assert/strict';
import { resolve } from 'node:path';
import { test } from 'node:test';
import { databaseLocation, databaseOf, hasPassword } from './database.js';

test('a password is found wherever PostgreSQL reads one', () => {
  for (const url of [
    'postgres://u:secret@h/d',
    'postgresql://u:@h/d?password=x',
    'postgres:///d?user=u&password=x',
  ])
    assert.ok(hasPassword(url), url);
  for (const url of [
    'postgres://u@h/d',
    'postgres://h:5432/d',
    '/var/lib/hub.sqlite',
    'postgres://host:port/x',
    '',
  ])
    assert.ok(!hasPassword(url), url);
});

test('a database is given in one way', () => {
  assert.equal(databaseOf({}), undefined);
  assert.equal(databaseOf({ database: 'a' }), 'a');
  assert.equal(databaseOf({ databaseFile: 'b' }), 'b');
  assert.throws(() => databaseOf({ database: 'a', databaseFile: 'b' }), {
    code: 'usage',
    message: /contradict each other: give one of them/,
  });
});

test('a database is a URL or the path of a file, never a bare word', () => {
  for (const url of ['postgres://u@h/d', 'postgresql:///d?host=/run/postgresql'])
    assert.equal(databaseLocation(url), url);
  for (const path of ['/srv/hub.sqlite', './hub.sqlite', '../hub.sqlite'])
    assert.equal(databaseLocation(path), resolve(path));
  for (const wrong of [
    'foo',
    'u:very-secret@h/d',
    'h/d',
    'mysql://h/d',
    'postgres:',
    'postgres://u@h:port/d',
    '~/d',
  ])
    assert.throws(
      () => databaseLocation(wrong),
      ({ code, message }) =>
        code === 'usage' && /postgres:\/\/USER@HOST\/NAME/.test(message) && !message.includes('secret'),
      wrong,
    );
});

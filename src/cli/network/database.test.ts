import assert from 'node:assert/strict';
import { test } from 'node:test';
import { databaseOf, hasPassword } from './database.js';

test('a password is seen wherever PostgreSQL reads one', () => {
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

test('a database is said in one way', () => {
  assert.equal(databaseOf({}), undefined);
  assert.equal(databaseOf({ database: 'a' }), 'a');
  assert.equal(databaseOf({ databaseFile: 'b' }), 'b');
  assert.throws(() => databaseOf({ database: 'a', databaseFile: 'b' }), {
    code: 'usage',
    message: /not both/,
  });
});

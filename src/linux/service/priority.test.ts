import assert from 'node:assert/strict';
import { closeSync, fstatSync, openSync } from 'node:fs';
import { test } from 'node:test';
import { isJournal, withPriority } from './priority.js';

test('each line gets its priority', () => {
  assert.equal(withPriority('one\n\ntwo\n', 'error'), '<3>one\n<3>\n<3>two\n');
  assert.equal(withPriority('<0>forged', 'debug'), '<7><0>forged');
});

test('only the descriptor that JOURNAL_STREAM names is the journal', () => {
  const [fd, other] = [openSync('/dev/null', 'r'), openSync('/', 'r')];
  const { dev, ino } = fstatSync(fd);
  assert.equal(isJournal(fd, `${dev}:${ino}`), true);
  assert.equal(isJournal(other, `${dev}:${ino}`), false);
  assert.equal(isJournal(fd, `${dev}:${ino}1`), false);
  assert.equal(isJournal(fd, undefined), false);
  closeSync(other);
  closeSync(fd);
  assert.equal(isJournal(fd, `${dev}:${ino}`), false, 'it is closed');
});

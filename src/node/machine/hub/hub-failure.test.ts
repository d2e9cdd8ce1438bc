import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LametunError } from '../../../errors.js';
import { CLOSE_CODE } from '../../../protocol/channel.js';
import { closeFailure, connectFailure, HubFailure, summarise } from './hub-failure.js';

test('of many failed addresses, the failures of the most informative kind are reported', () => {
  const refused = connectFailure('a:1', 'ECONNREFUSED');
  const away = connectFailure('b:1', 'ENETUNREACH');
  const other = closeFailure('c:1', CLOSE_CODE.key, false);
  const both = summarise([refused, away, refused]);
  assert.equal(
    both.message,
    'a:1: connection refused; is the hub running, and on this port?; b:1: no route to this address',
  );
  assert.deepEqual([both.kind, both.code], ['unreachable', 'unreachable']);
  assert.equal(summarise([refused, other, away]), other);
  const older = new HubFailure('version', 'update');
  assert.equal(summarise([other, older]), older);
  assert.match(summarise([]).message, /no known address/);
});

test('the meaning of a close code depends on whether the channel was open', () => {
  assert.equal(closeFailure('a:1', 1006, true).message, 'the connection to the hub broke');
  assert.equal(closeFailure('a:1', 1001, true).message, 'the hub is stopping');
  assert.deepEqual(
    [closeFailure('a:1', 1006, false).kind, closeFailure('a:1', 1006, true).kind],
    ['unreachable', 'lost'],
  );
  assert.equal(closeFailure('a:1', CLOSE_CODE.key, false).kind, 'other-hub');
  assert.equal(closeFailure('a:1', CLOSE_CODE.key, true).kind, 'lost', 'the channel has proved otherwise');
});

test('an error of the caller keeps its code', () => {
  const cause = new LametunError('usage', 'no');
  assert.equal(new HubFailure('unwanted', 'no', { cause }).code, 'usage');
  assert.equal(new HubFailure('unwanted', 'no').code, 'refused');
});

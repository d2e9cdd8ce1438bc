import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LametunError } from '../../../errors.js';
import { CLOSE_CODE } from '../../../protocol/channel.js';
import { closeFailure, connectFailure, HubFailure, summarise } from './hub-failure.js';

test('of many addresses the most telling failure is told, and all of its kind', () => {
  const refused = connectFailure('a:1', 'ECONNREFUSED');
  const away = connectFailure('b:1', 'ENETUNREACH');
  const other = closeFailure('c:1', CLOSE_CODE.key, false);
  const both = summarise([refused, away, refused]);
  assert.equal(
    both.message,
    'a:1: the connection was refused; does the hub run, and on this port?; b:1: there is no route to it',
  );
  assert.deepEqual([both.kind, both.code], ['unreachable', 'unreachable']);
  assert.equal(summarise([refused, other, away]), other);
  const older = new HubFailure('version', 'update');
  assert.equal(summarise([other, older]), older);
  assert.match(summarise([]).message, /no address/);
});

test('how a connection ended is told by what was before', () => {
  assert.equal(closeFailure('a:1', 1006, true).message, 'the connection to the hub broke');
  assert.equal(closeFailure('a:1', 1001, true).message, 'the hub is stopping');
  assert.deepEqual(
    [closeFailure('a:1', 1006, false).kind, closeFailure('a:1', 1006, true).kind],
    ['unreachable', 'lost'],
  );
  assert.equal(closeFailure('a:1', CLOSE_CODE.key, false).kind, 'other-hub');
  assert.equal(closeFailure('a:1', CLOSE_CODE.key, true).kind, 'lost', 'the channel has proved otherwise');
});

test('what the caller threw keeps its code', () => {
  const cause = new LametunError('usage', 'no');
  assert.equal(new HubFailure('unwanted', 'no', { cause }).code, 'usage');
  assert.equal(new HubFailure('unwanted', 'no').code, 'refused');
});

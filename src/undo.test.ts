import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { UndoStack } from './undo.js';

test('steps are undone once, the latest first, one after another', async () => {
  const stack = new UndoStack();
  const done: string[] = [];
  stack.push(() => void done.push('a'));
  stack.push(async () => {
    await setImmediate();
    done.push('b');
  });
  stack.push(
    () => void done.push('c'),
    () => void done.push('d'),
  );
  const first = stack.undo();
  assert.deepEqual(done, ['d', 'c'], 'synchronous steps are done at once');
  await Promise.all([first, stack.undo()]);
  assert.deepEqual(done, ['d', 'c', 'b', 'a']);
});

test('all steps run even if one fails, and the first failure is thrown', async () => {
  const stack = new UndoStack();
  const done: string[] = [];
  const fail = (text: string) => () => {
    throw new Error(text);
  };
  stack.push(() => void done.push('a'), fail('second'), fail('first'));
  await assert.rejects(stack.undo(), /first/);
  assert.deepEqual(done, ['a']);
});

test('failures go to the failure handler', async () => {
  const errors: string[] = [];
  const stack = new UndoStack(({ message }) => void errors.push(message));
  stack.push(() => Promise.reject(new Error('b')));
  stack.push(() => {
    throw new Error('a');
  });
  await stack.undo();
  assert.deepEqual(errors, ['a', 'b']);
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Keypair, Keypairs, makeKeypair } from './keypair.js';
import type { ReceiverIndex } from './numbers.js';

const REMOTE = 0 as ReceiverIndex;
const begun = (index: number, at = index): Keypair => makeKeypair(index as ReceiverIndex, REMOTE, true, at);
const answered = (index: number, at = index): Keypair =>
  makeKeypair(index as ReceiverIndex, REMOTE, false, at);
const confirm = (keypairs: Keypairs, index: number, senior: boolean): Keypair[] | undefined =>
  keypairs.confirm(index as ReceiverIndex, senior);
const indices = (keypairs: readonly { localIndex: number }[] | undefined): number[] | undefined =>
  keypairs?.map(({ localIndex }) => localIndex);
const slots = ({ previous, current, next }: Keypairs): (number | undefined)[] =>
  [previous, current, next].map((keypair) => keypair?.localIndex);

test('the initiator uses a new keypair at once, and still receives with the previous one', () => {
  const keypairs = new Keypairs();
  assert.deepEqual(indices(keypairs.begin(begun(1))), []);
  assert.deepEqual(indices(keypairs.begin(begun(2))), []);
  assert.deepEqual(slots(keypairs), [1, 2, undefined]);
  assert.deepEqual(indices(keypairs.begin(begun(3))), [1]);
  assert.deepEqual(slots(keypairs), [2, 3, undefined]);
});

test('the responder uses a new keypair after receiving the first packet with it', () => {
  const keypairs = new Keypairs();
  keypairs.begin(answered(1));
  assert.deepEqual(slots(keypairs), [undefined, undefined, 1]);
  assert.deepEqual(indices(confirm(keypairs, 1, false)), []);
  assert.deepEqual(slots(keypairs), [undefined, 1, undefined]);
  keypairs.begin(answered(2));
  assert.deepEqual(slots(keypairs), [undefined, 1, 2]);
  assert.equal(confirm(keypairs, 1, false), undefined);
  assert.deepEqual(indices(keypairs.begin(answered(3))), [2]);
  assert.deepEqual(indices(confirm(keypairs, 3, true)), []);
  assert.deepEqual(slots(keypairs), [1, 3, undefined]);
});

test('after simultaneous initiations, the senior peer keeps its own session and the other adopts it', () => {
  const senior = new Keypairs();
  const junior = new Keypairs();
  senior.begin(answered(2, 100));
  senior.begin(begun(1, 110));
  junior.begin(answered(1, 100));
  junior.begin(begun(2, 110));
  confirm(senior, 2, true);
  confirm(junior, 1, false);
  assert.deepEqual(slots(senior), [2, 1, undefined]);
  assert.deepEqual(slots(junior), [2, 1, undefined]);
});

test('clearing returns all keypairs', () => {
  const keypairs = new Keypairs();
  keypairs.begin(begun(1));
  keypairs.begin(begun(2));
  keypairs.begin(answered(3));
  assert.deepEqual(indices(keypairs.clear()), [1, 2, 3]);
  assert.deepEqual(slots(keypairs), [undefined, undefined, undefined]);
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ControlRequest } from './control.js';
import { mayAsk, type Standing, standingOf } from './operators.js';

const RIGHTS = { owner: 0, group: 27 };

test('the standing of a user follows from the credentials that the kernel reports', () => {
  const rows: readonly (readonly [uid: number, groups: readonly number[], Standing])[] = [
    [0, [0], 'owner'],
    [0, [], 'owner'],
    [1000, [1000, 27], 'operator'],
    [1000, [27], 'operator'],
    [1000, [1000], 'stranger'],
    [1000, [], 'stranger'],
    [27, [1000], 'stranger'], // the number of a user, not of a group
    [1000, [0], 'stranger'], // the group of root is not root
    [65_534, [65_534], 'stranger'],
  ];
  for (const [uid, groups, standing] of rows)
    assert.equal(standingOf({ uid, groups }, RIGHTS), standing, `${uid} in ${groups}`);
  const ownRights = { owner: 1000, group: 27 };
  assert.equal(standingOf({ uid: 1000, groups: [] }, ownRights), 'owner');
  assert.equal(standingOf({ uid: 0, groups: [] }, ownRights), 'owner');
});

/** Every command: the compiler checks that none is missing. */
const REQUESTS: Readonly<Record<ControlRequest['command'], ControlRequest>> = {
  status: { command: 'status' },
  watch: { command: 'watch' },
  ping: { command: 'ping', node: 'anna' },
  leave: { command: 'leave' },
  share: { command: 'share' },
  trust: { command: 'trust', node: 'anna' },
  readdress: { command: 'readdress', hubKey: '', addresses: [] },
  admin: { command: 'admin', request: { op: 'invites' } },
  backup: { command: 'backup', file: '/b' },
};

test('operators may ask about the state, strangers nothing, the owner everything', () => {
  const looks = new Set(['status', 'watch', 'ping']);
  for (const [command, request] of Object.entries(REQUESTS)) {
    assert.equal(mayAsk('owner', request), true, command);
    assert.equal(mayAsk('operator', request), looks.has(command), command);
    assert.equal(mayAsk('stranger', request), false, command);
  }
});

test('of all administrator requests, operators may only list the nodes', () => {
  const admin = (request: unknown): ControlRequest => ({ command: 'admin', request }) as ControlRequest;
  for (const op of ['invite', 'invites', 'revoke', 'approve', 'rename', 'remove'])
    assert.equal(mayAsk('operator', admin({ op })), false, op);
  assert.equal(mayAsk('operator', admin({ op: 'nodes' })), true);
  assert.equal(mayAsk('stranger', admin({ op: 'nodes' })), false);
  for (const strange of [undefined, null, 'nodes', ['nodes'], {}])
    assert.equal(mayAsk('operator', admin(strange)), false);
});

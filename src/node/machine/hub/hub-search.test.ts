import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { HubAddress } from '../../../protocol/token.js';
import { HubFailure } from './hub-failure.js';
import { HubSearch } from './hub-search.js';

const at = (host: string): HubAddress => ({ host, port: 443, tls: false });
const search = (...hosts: string[]): HubSearch => new HubSearch(undefined, hosts.map(at));
const failure = new HubFailure('unreachable', 'no');

/** All attempts from `now` on, with their times, if none is answered or fails. */
function run(running: HubSearch, now: number): [number, string][] {
  const started: [number, string][] = [];
  for (let at = now; at < now + 60_000; at = Math.max(at + 1, Math.min(running.nextTimeout(), now + 60_000)))
    for (let next = running.next(at); next !== undefined; next = running.next(at))
      started.push([at, next.ip]);
  return started;
}
const order = (...hosts: string[]): string[] => run(search(...hosts), 0).map(([, ip]) => ip);

test('addresses are tried one after another, staggered', () => {
  const running = search('10.0.0.1', '10.0.0.2', '10.0.0.3');
  assert.deepEqual(run(running, 0), [
    [0, '10.0.0.1'],
    [250, '10.0.0.2'],
    [500, '10.0.0.3'],
  ]);
  assert.equal(running.nextTimeout(), Infinity);
});

test('a failed attempt starts the next one at once, and the last failure ends the search', () => {
  const running = search('10.0.0.1', '10.0.0.2');
  assert.equal(running.next(0)?.ip, '10.0.0.1');
  running.failed(failure);
  assert.equal(running.failure, undefined);
  assert.equal(running.next(1)?.ip, '10.0.0.2');
  running.failed(failure);
  assert.ok(running.failure);
});

test('once a server has answered, the next address waits longer', () => {
  const running = search('10.0.0.1', '10.0.0.2');
  assert.equal(running.next(0)?.ip, '10.0.0.1');
  running.answered(100);
  assert.deepEqual(run(running, 100), [[1600, '10.0.0.2']]);
});

test('a host name that is resolved late joins the search, which does not end before', () => {
  const running = search('hub.example.org', '10.0.0.1');
  assert.equal(running.next(0)?.ip, '10.0.0.1');
  running.failed(failure);
  assert.equal(running.failure, undefined);
  running.handleResolved('hub.example.org', ['10.0.0.2']);
  assert.deepEqual(run(running, 1000), [[1000, '10.0.0.2']]);
});

test('IPv4 and IPv6 take turns', () => {
  assert.deepEqual(order('10.0.0.1', '10.0.0.2', '10.0.0.3', 'fd::1'), [
    '10.0.0.1',
    'fd::1',
    '10.0.0.2',
    '10.0.0.3',
  ]);
  assert.deepEqual(order('fd::1', '10.0.0.1', '10.0.0.2', 'fd::2', '10.0.0.3'), [
    ...['fd::1', '10.0.0.1', 'fd::2', '10.0.0.2', '10.0.0.3'],
  ]);
  assert.deepEqual(order(), []);
});

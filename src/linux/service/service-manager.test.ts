import assert from 'node:assert/strict';
import { closeSync, fstatSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { NotifySocket } from '../../../tests/kit/notify-socket.js';
import { temporaryFolder } from '../../../tests/kit/stores.js';
import { passedDescriptors, ServiceManager } from './service-manager.js';

function listen(t: TestContext, path: string): NotifySocket {
  const socket = new NotifySocket(path);
  t.after(() => socket.close());
  return socket;
}

for (const kind of ['path', 'abstract name'])
  test(`messages reach a socket with ${kind === 'path' ? 'a path' : 'an abstract name'}`, (t) => {
    const path = kind === 'path' ? join(temporaryFolder(t), 'notify') : `@lametun-test-${process.pid}`;
    const socket = listen(t, path);
    const manager = new ServiceManager({ NOTIFY_SOCKET: path });
    assert.equal(manager.isThere, true);
    manager.status('two\nlines');
    manager.status('two\nlines'); // nothing new
    manager.ready();
    manager.watchdog();
    manager.stopping();
    const texts = socket.readAll().map(({ text }) => text);
    assert.deepEqual(texts, ['STATUS=two lines', 'READY=1', 'WATCHDOG=1', 'STOPPING=1']);
  });

test('a stored descriptor arrives, and is the same file', (t) => {
  const path = join(temporaryFolder(t), 'notify');
  const socket = listen(t, path);
  const file = openSync(`${path}.file`, 'w');
  new ServiceManager({ NOTIFY_SOCKET: path }).store('tun', file);
  const [{ text, fd } = { text: '' }] = socket.readAll();
  assert.equal(text, 'FDSTORE=1\nFDNAME=tun');
  assert.equal(fstatSync(fd!).ino, fstatSync(file).ino);
  assert.notEqual(fd, file);
  closeSync(fd!);
  closeSync(file);
});

test('programs that are started later do not get the variables', () => {
  const environment = {
    ...{ NOTIFY_SOCKET: '/run/notify', WATCHDOG_USEC: '1', WATCHDOG_PID: '5', HOME: '/' },
    ...{ LISTEN_FDS: '0', LISTEN_PID: '5', LISTEN_FDNAMES: '', LISTEN_PIDFDID: '1' },
  };
  new ServiceManager(environment, 5);
  assert.deepEqual(environment, { HOME: '/' });
});

test('the watchdog and descriptors of another process are not taken', () => {
  const given = { LISTEN_FDS: '2', LISTEN_PID: '5', LISTEN_FDNAMES: 'tun:configuration' };
  assert.deepEqual(passedDescriptors(given, 5), [3, 4]);
  assert.deepEqual(passedDescriptors(given, 6), []);
  assert.equal(new ServiceManager({ ...given }, 6).take('tun'), undefined);
  const watchdog = (pid: string | undefined, time: string): number | undefined =>
    new ServiceManager({ WATCHDOG_USEC: time, ...(pid && { WATCHDOG_PID: pid }) }, 5).watchdogInterval;
  assert.equal(watchdog('5', '30000000'), 30_000);
  assert.equal(watchdog(undefined, '30000000'), 30_000);
  assert.equal(watchdog('6', '30000000'), undefined);
  for (const wrong of ['', '0', '-1', 'soon']) assert.equal(watchdog('5', wrong), undefined, wrong);
});

test('without a service manager, or after its end, messages are lost without an error', (t) => {
  for (const NOTIFY_SOCKET of [
    undefined,
    '',
    'relative',
    join(temporaryFolder(t), 'none'),
    `/${'x'.repeat(200)}`,
  ])
    new ServiceManager({ NOTIFY_SOCKET }).ready();
});

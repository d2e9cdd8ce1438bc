import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LOG_LEVEL, logLevel, TextLog } from './log.js';

test('LOG_LEVEL is read as in wireguard-go', () => {
  assert.deepEqual(
    ['verbose', 'debug', 'error', 'info', 'silent', 'nonsense', undefined].map(logLevel),
    [2, 2, 1, 1, 0, 1, 1],
  );
});

test('lines have the format of wireguard-go', () => {
  const lines: string[] = [];
  const log = new TextLog(
    LOG_LEVEL.verbose,
    'wg0',
    (line) => lines.push(line),
    () => new Date(2026, 0, 2, 3, 4, 5),
  );
  log.verbose('Device started');
  log.error('oops');
  assert.deepEqual(lines, [
    'DEBUG: (wg0) 2026/01/02 03:04:05 Device started\n',
    'ERROR: (wg0) 2026/01/02 03:04:05 oops\n',
  ]);
});

test('messages above the level are not logged', () => {
  for (const [level, count] of [
    [LOG_LEVEL.silent, 0],
    [LOG_LEVEL.error, 1],
    [LOG_LEVEL.verbose, 2],
  ] as const) {
    let lines = 0;
    const log = new TextLog(level, 'wg0', () => lines++);
    log.verbose('x');
    log.error('y');
    assert.equal(lines, count);
  }
});

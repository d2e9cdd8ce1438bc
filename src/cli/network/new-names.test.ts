import assert from 'node:assert/strict';
import { test } from 'node:test';
import { checkNewNames } from './new-names.js';

const failing = (code: string) => () => Promise.reject(Object.assign(new Error(code), { code }));

test('only new names are resolved', async () => {
  const asked: string[] = [];
  const find = async (name: string) => void asked.push(name);
  const given = ['192.0.2.1', '[2001:db8::1]:8443', 'new.example:8443', 'https://web.example', 'old.example'];
  await checkNewNames(given, ['old.example'], find);
  assert.deepEqual(asked, ['new.example', 'web.example']);
});

test('a new name that does not resolve is refused with the reason, and an old one is not', async () => {
  const refused = (code: string, message: RegExp) =>
    assert.rejects(checkNewNames(['hub.example:8443'], [], failing(code)), { code: 'unknown-host', message });
  await refused('ENOTFOUND', /^--public hub\.example:8443: cannot resolve hub\.example: no such name/);
  await refused('EAI_AGAIN', /no name server answered/);
  await refused('EAI_FAIL', /EAI_FAIL$/);
  await checkNewNames(['hub.example'], ['hub.example'], failing('ENOTFOUND'));
});

test('a name server that never answers is given up after the stated time', async () => {
  const never = () => new Promise(() => {});
  await assert.rejects(checkNewNames(['hub.example'], [], never, 1), /no name server answered/);
});

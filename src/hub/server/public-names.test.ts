import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parsePublic } from './public-addresses.js';
import { unresolvedNames } from './public-names.js';

const addresses = (...texts: string[]) => texts.map((text) => parsePublic(text, 443));
const failing = (code: string) => () => Promise.reject(Object.assign(new Error(code), { code }));

test('addresses are not resolved, and a name is resolved once', async () => {
  const asked: string[] = [];
  const find = async (name: string) => void asked.push(name);
  const given = addresses('192.0.2.1', '[2001:db8::1]:8443', 'hub.example', 'https://hub.example:8443');
  assert.deepEqual(await unresolvedNames(given, find), []);
  assert.deepEqual(asked, ['hub.example']);
});

test('a name that does not resolve is reported with the reason', async () => {
  const reasonFor = (code: string) => unresolvedNames(addresses('hub.example'), failing(code));
  assert.match(
    (await reasonFor('ENOTFOUND')).join(),
    /^cannot resolve --public hub\.example: .*no such name/,
  );
  assert.match((await reasonFor('EAI_AGAIN')).join(), /no name server answers/);
  assert.match((await reasonFor('EAI_FAIL')).join(), /EAI_FAIL/);
});

test('the start does not wait for a name server that never answers', async () => {
  const [warning, ...others] = await unresolvedNames(
    addresses('hub.example'),
    () => new Promise(() => {}),
    1,
  );
  assert.match(warning!, /no name server answers/);
  assert.deepEqual(others, []);
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { locate } from './resolv-foreign.js';

const PATH = '/etc/resolv.conf';
const mounts = (...lines: string[]): string => lines.map((line) => `${line} rw - ext4 /dev/x rw`).join('\n');

test('a path is found below its mounts, as the kernel follows it', () => {
  const root = '20 1 8:1 /@root /';
  assert.equal(locate(PATH, mounts(root)), '8:1:/@root/etc/resolv.conf');
  const netns = mounts(root, '30 20 8:1 /@root/etc/netns/a/resolv.conf /etc/resolv.conf');
  assert.equal(locate(PATH, netns), '8:1:/@root/etc/netns/a/resolv.conf');
  assert.equal(locate('/etc/resolv.config', netns), '8:1:/@root/etc/resolv.config');
  const twice = mounts(root, '30 20 8:1 /one /etc/resolv.conf', '31 30 8:2 /two /etc/resolv.conf');
  assert.equal(locate(PATH, twice), '8:2:/two', 'the upper one');
  const hidden = mounts('30 20 8:1 /one /etc/resolv.conf', '31 20 8:3 / /etc', root);
  assert.equal(locate(PATH, hidden), '8:3:/resolv.conf', 'what is over /etc hides what was in it before');
});

test('a mount over the root, blanks in names and an empty list are understood', () => {
  const over = mounts('1 1 0:1 / /', '20 1 8:1 / /', '21 20 8:2 /a\\040b /etc');
  assert.equal(locate(PATH, over), '8:2:/a b/resolv.conf');
  assert.equal(locate(PATH, ''), undefined);
  assert.equal(locate(PATH, mounts('30 20 8:1 / /etc')), undefined);
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startText } from './start-text.js';

const invitation = {
  token: 'lt1abc',
  invite: 'x',
  expiresAt: 7_200_000,
  addresses: ['203.0.113.5:443'],
  warnings: ['none of these addresses is public'],
};

test('the line to paste stands alone, with what is in it and which ports to open', () => {
  const lines = startText({ network: 'home', port: 443, invitation }, undefined, 0).split('\n');
  assert.ok(lines.includes('lametun join lt1abc'));
  assert.ok(lines.includes('That works once, within 2 h; for more: lametun invite'));
  assert.ok(lines.includes('Addresses of this hub in it: 203.0.113.5:443'));
  assert.ok(lines.includes('Warning: none of these addresses is public'));
  assert.doesNotMatch(lines.join(), /makes a line/);
  assert.match(startText({ network: 'home', port: 443 }, undefined, 0), /`lametun invite` makes a line/);
  assert.ok(lines.includes('Ports to open towards this machine: TCP 443 and UDP 443.'));
});

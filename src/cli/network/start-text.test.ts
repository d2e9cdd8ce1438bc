import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parsePublic } from '../../hub/server/public-addresses.js';
import type { NodeStatus } from '../../node/control/control.js';
import { startText } from './start-text.js';

const invitation = {
  token: 'lt1abc',
  invite: 'x',
  maxUses: 1,
  expiresAt: 7_200_000,
  addresses: ['203.0.113.5:443'],
  warnings: ['none of these addresses is public'],
};

const hub = { network: 'home', port: 443, outside: [] };

test('the line to paste stands alone, with what is in it and which ports to open', () => {
  const lines = startText({ ...hub, invitation }, undefined, 0).split('\n');
  assert.ok(lines.includes('lametun join lt1abc'));
  assert.ok(lines.includes('That works once, within 2 h; for more: lametun invite'));
  assert.ok(lines.includes('Addresses of this hub in it: 203.0.113.5:443'));
  assert.ok(lines.includes('Warning: none of these addresses is public'));
  assert.doesNotMatch(lines.join(), /makes a line/);
  assert.match(startText(hub, undefined, 0), /`lametun invite` makes a line/);
  assert.ok(lines.includes('Ports to open towards this machine: TCP 443 and UDP 443.'));
});

const ports = (port: number, ...outside: readonly string[]): string[] =>
  startText({ network: 'home', port, outside: outside.map((text) => parsePublic(text, port)) }, undefined, 0)
    .split('\n')
    .filter((line) => /\bTCP\b/.test(line));

test('a public address with the hub’s own port is that machine’s, or a NAT’s that keeps it', () => {
  const line = 'Ports to open towards this machine: TCP 443 and UDP 443.';
  assert.deepEqual(ports(443, 'hub.example.com'), [line]);
  assert.deepEqual(ports(443, '203.0.113.5:443', '2001:db8::5'), [line]);
});

test('behind a proxy its port is to be open, and it is said what to pass on', () => {
  assert.deepEqual(ports(8443, 'https://www.example.com'), [
    'Open TCP 443 of www.example.com; the proxy there passes WebSockets for /lametun on to TCP 8443 of this machine. ' +
      'Forward UDP 8443 to UDP 8443, else packets are relayed through the WebSocket, which is slower.',
  ]);
  assert.match(
    ports(443, 'https://www.example.com:4443')[0]!,
    /^Open TCP 4443 of .* on to TCP 443 of this machine/,
  );
});

test('a NAT with another port is to forward it, and UDP by the hub’s own', () => {
  const [first, ...more] = ports(443, '203.0.113.5:8443', 'hub.example.com');
  assert.match(
    first!,
    /^Open TCP 8443 of 203\.0\.113\.5, and forward it to TCP 443 of this machine; and UDP 443 to UDP 443,/,
  );
  assert.deepEqual(more, ['Ports to open towards this machine: TCP 443 and UDP 443.']);
});

const node: NodeStatus = {
  network: { id: 'x', name: 'home', ipv4: '10.6.0.0/15', ipv6: 'fd07::/64', mtu: 1280 },
  self: {
    ...{ id: 2, name: 'anna-2', fullName: 'anna-2.home.lametun', ipv4: '10.6.0.2', ipv6: 'fd07::2', key: '' },
    ...{ admin: false, pending: false, device: 'lametun0', port: 4000 },
  },
  hub: { state: 'connected', address: '203.0.113.5:443', since: 0 },
  relay: { via: 'udp', why: '', since: 0 },
  ...{ peers: [], shares: [], names: { how: 'resolv.conf' }, warnings: [] },
};

test('who waits is told which command lets it in, and where', () => {
  const self = { ...node.self, pending: true, ipv4: undefined, ipv6: undefined };
  assert.equal(
    startText(undefined, { ...node, self }, 0),
    "anna-2 has asked to join home: an administrator lets it in by `lametun approve anna-2` on the hub's machine",
  );
});

test('a name that was taken is told, with what the node is called and how to change it', () => {
  const lines = startText(undefined, { ...node, self: { ...node.self, wished: 'anna' } }, 0).split('\n');
  assert.match(
    lines[1]!,
    /^The name anna is taken, so this node is called anna-2; .*`lametun rename anna-2 NAME`/,
  );
  assert.equal(startText(undefined, node, 0).split('\n').length, 1, 'and nothing where it was free');
});

test('a hub that is away, or refuses the node, is told with the reason', () => {
  const hub = { state: 'away', address: '203.0.113.5:443', why: 'nobody answers', since: 0 } as const;
  assert.match(
    startText(undefined, { ...node, hub }, 0),
    /\nThe hub at 203\.0\.113\.5:443 is not reached \(nobody answers\); lametun keeps trying/,
  );
  const refused = { state: 'refused', why: 'not a member', since: 0 } as const;
  assert.match(
    startText(undefined, { ...node, hub: refused }, 0),
    /\nThe hub refuses this node: not a member/,
  );
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { NodeStatus } from '../../node/control/control.js';
import { pingText, statusLine, statusText } from './status-text.js';

const NOW = 1_000_000_000;
const key = 'a'.repeat(43);
const status: NodeStatus = {
  network: { id: 'x', name: 'home', ipv4: '10.7.0.0/16', ipv6: 'fd07::/64', mtu: 1280 },
  self: {
    ...{ id: 1, name: 'office', fullName: 'office.home.lametun', ipv4: '10.7.0.1', ipv6: 'fd07::1', key },
    ...{ admin: true, pending: false, interface: 'lametun0', port: 4000 },
  },
  hub: { state: 'away', address: '203.0.113.5:443', why: 'nobody answers', since: NOW - 5000 },
  relay: { via: 'websocket', why: 'UDP does not reach the hub', since: NOW },
  peers: [
    {
      ...{ id: 2, name: 'laptop', ipv4: '10.7.0.2', ipv6: 'fd07::2', key, shares: ['192.168.1.0/24'] },
      path: { kind: 'direct', endpoint: '192.0.2.1:5', why: '', rttMs: 0.42, since: NOW },
      ...{ lastHandshake: NOW - 30_000, received: 1500, sent: 20 },
    },
    {
      ...{ id: 3, name: 'nas', ipv4: '10.7.0.3', ipv6: 'fd07::3', key, shares: [] },
      path: { kind: 'relayed', why: 'no answer from 192.0.2.9:7', since: NOW },
      ...{ lastHandshake: 0, received: 0, sent: 0 },
    },
  ],
  shares: [{ network: '10.9.0.0/24', state: 'refused', why: 'overlaps 10.9.0.0/16 of nas' }],
  names: { how: 'resolv.conf' },
  warnings: ['The route 192.168.1.0/24 of laptop is not used.'],
};

test('a status shows every node, its path, and why the path is not direct', () => {
  assert.equal(
    statusText(status, NOW, undefined),
    `network    home, 10.7.0.0/16 and fd07::/64, MTU 1280
this node  office.home.lametun, 10.7.0.1, fd07::1, admin
interface  lametun0, UDP port 4000
hub        unreachable at 203.0.113.5:443 for 5 s: nobody answers
relay      over WebSocket: UDP does not reach the hub
names      via resolv.conf
shares     10.9.0.0/24 (refused: overlaps 10.9.0.0/16 of nas)

Warning: The route 192.168.1.0/24 of laptop is not used.

NODE    ADDRESS   PATH                LATENCY  IN      OUT   HANDSHAKE
laptop  10.7.0.2  direct 192.0.2.1:5  0.4 ms   1.5 kB  20 B  30 s ago
  shares 192.168.1.0/24
nas     10.7.0.3  relayed                      0 B     0 B   never
  no answer from 192.0.2.9:7`,
  );
});

test('on a terminal long values are wrapped between words and aligned with their first line', () => {
  const lines = statusText(status, NOW, 50).split('\n');
  const at = lines.findIndex((line) => line.startsWith('shares'));
  assert.deepEqual(lines.slice(at, at + 2), [
    'shares     10.9.0.0/24 (refused: overlaps',
    '           10.9.0.0/16 of nas)',
  ]);
});

test('a status shows how names are resolved, or why they are not', () => {
  const said = (names: NodeStatus['names']): string =>
    /^names +(.*)$/m.exec(statusText({ ...status, names }, NOW))![1]!;
  assert.equal(said({ how: 'resolv.conf', through: 'lametun0' }), 'via resolv.conf, through lametun0');
  assert.equal(said({ how: 'none', why: 'nobody asks' }), 'none: nobody asks');
});

test('a status without other nodes says so', () => {
  assert.match(statusText({ ...status, peers: [] }, NOW), /No other nodes yet\./);
});

test('the status line counts paths', () => {
  assert.equal(
    statusLine(status),
    'office.home 10.7.0.1 · hub unreachable · 2 other nodes, 1 direct, 1 relayed',
  );
  assert.match(statusLine({ ...status, peers: [] }), / · no other nodes yet$/);
});

test('a ping shows its path', () => {
  const { path } = status.peers[1]!;
  const answer = { node: 'nas', address: '10.7.0.3', sequence: 2, path };
  assert.equal(pingText(answer), 'nas (10.7.0.3) 2: no answer, relayed: no answer from 192.0.2.9:7');
  assert.match(pingText({ ...answer, rttMs: 12 }), /2: 12 ms, relayed/);
});

test('an offline member is shown with the time since it was last seen', () => {
  const [first] = status.peers;
  const offline = { kind: 'offline', why: '', since: NOW } as const;
  const peers = [
    { ...first!, shares: [], path: { ...offline, lastSeen: NOW - 7_200_000 } },
    { ...first!, name: 'nas', shares: [], path: { ...offline, why: 'not seen since the hub started' } },
  ];
  const lines = statusText({ ...status, peers, warnings: [] }, NOW, undefined)
    .split('\n')
    .slice(-4);
  assert.match(lines[0]!, /^laptop +10\.7\.0\.2 +offline +1\.5 kB/);
  assert.equal(lines[1], '  last seen 2 h ago');
  assert.match(lines[2]!, /^nas .* offline/);
  assert.equal(lines[3], '  not seen since the hub started');
  assert.match(statusLine({ ...status, peers }), /2 other nodes, 0 direct, 0 relayed, 2 offline/);
});

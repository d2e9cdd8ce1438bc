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

test('the command to paste stands on its own line; addresses and ports follow', () => {
  const lines = startText({ ...hub, invitation }, undefined, 0).split('\n');
  assert.ok(lines.includes('lametun join lt1abc'));
  assert.ok(lines.includes('The token works once and expires in 2 h. For more tokens, run: lametun invite'));
  assert.ok(lines.includes('Hub addresses in the token: 203.0.113.5:443'));
  assert.ok(lines.includes('Warning: none of these addresses is public'));
  assert.doesNotMatch(lines.join(), /To invite a machine/);
  assert.match(startText(hub, undefined, 0), /To invite a machine, run: lametun invite/);
  assert.ok(lines.includes('Open these ports to this machine: TCP 443 and UDP 443.'));
});

test('the commands for this hub name its state directory, unless it is the default one', () => {
  const option = ' --state /work';
  assert.match(
    startText(hub, undefined, 0, option),
    /To invite a machine, run: lametun invite --state \/work\n/,
  );
  assert.match(
    startText({ ...hub, invitation }, undefined, 0, option),
    /For more tokens, run: lametun invite --state \/work\n/,
  );
});

const ports = (port: number, ...outside: readonly string[]): string[] =>
  startText({ network: 'home', port, outside: outside.map((text) => parsePublic(text, port)) }, undefined, 0)
    .split('\n')
    .filter((line) => /\bTCP\b/.test(line));

test('a public address with the hub’s own port is this machine’s, or that of a NAT that keeps the port', () => {
  const line = 'Open these ports to this machine: TCP 443 and UDP 443.';
  assert.deepEqual(ports(443, 'hub.example.com'), [line]);
  assert.deepEqual(ports(443, '203.0.113.5:443', '2001:db8::5'), [line]);
});

test('for a proxy, the text names the port to open and what to forward', () => {
  assert.deepEqual(ports(8443, 'https://www.example.com'), [
    'Open TCP 443 on www.example.com. Its proxy must pass WebSockets for /lametun to TCP 8443 of this machine. ' +
      'Also forward UDP 8443 to UDP 8443. Without UDP, traffic is relayed over the WebSocket, which is slower.',
  ]);
  assert.match(
    ports(443, 'https://www.example.com:4443')[0]!,
    /^Open TCP 4443 on .* to TCP 443 of this machine/,
  );
});

test('for a NAT with another port, the text names the TCP and UDP ports to forward', () => {
  const [first, ...more] = ports(443, '203.0.113.5:8443', 'hub.example.com');
  assert.match(
    first!,
    /^Forward TCP 8443 of 203\.0\.113\.5 to TCP 443 of this machine, and UDP 443 to UDP 443\./,
  );
  assert.deepEqual(more, ['Open these ports to this machine: TCP 443 and UDP 443.']);
});

const node: NodeStatus = {
  network: { id: 'x', name: 'home', ipv4: '10.6.0.0/15', ipv6: 'fd07::/64', mtu: 1280 },
  self: {
    ...{ id: 2, name: 'anna-2', fullName: 'anna-2.home.lametun', ipv4: '10.6.0.2', ipv6: 'fd07::2', key: '' },
    ...{ admin: false, pending: false, interface: 'lametun0', port: 4000 },
  },
  hub: { state: 'connected', address: '203.0.113.5:443', since: 0 },
  relay: { via: 'udp', why: '', since: 0 },
  ...{ peers: [], shares: [], names: { how: 'resolv.conf' }, warnings: [] },
};

test('for a pending node, the text names the command that approves it, and where to run it', () => {
  const self = { ...node.self, pending: true, ipv4: undefined, ipv6: undefined };
  assert.equal(
    startText(undefined, { ...node, self }, 0),
    'anna-2 has asked to join home and is pending approval. To approve it, run on the hub: lametun approve anna-2',
  );
});

test('when a name is taken, the node’s name and the command to change it are shown', () => {
  const lines = startText(undefined, { ...node, self: { ...node.self, wished: 'anna' } }, 0).split('\n');
  assert.match(
    lines[1]!,
    /^The name anna is taken, so this node is called anna-2\. .*lametun rename anna-2 NAME$/,
  );
  assert.equal(startText(undefined, node, 0).split('\n').length, 1, 'nothing if the name was free');
});

test('a hub that is unreachable or refuses the node is shown with the reason', () => {
  const hub = { state: 'away', address: '203.0.113.5:443', why: 'nobody answers', since: 0 } as const;
  assert.match(
    startText(undefined, { ...node, hub }, 0),
    /\nCannot reach the hub at 203\.0\.113\.5:443: nobody answers\. lametun keeps trying/,
  );
  const refused = { state: 'refused', why: 'not a member', since: 0 } as const;
  assert.match(startText(undefined, { ...node, hub: refused }, 0), /\nRefused by the hub: not a member/);
});

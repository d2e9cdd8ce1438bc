import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { NodeStatus, PeerStatus } from '../../node/control/control.js';
import { changes, firstLines } from './changes.js';

const peer = (id: number, path: PeerStatus['path']): PeerStatus => ({
  ...{ id, name: `n${id}`, ipv4: `10.0.0.${id}`, ipv6: `fd00::${id}`, key: '', shares: [], path },
  ...{ lastHandshake: 0, received: 0, sent: 0 },
});
const relayed = { kind: 'relayed', why: 'nothing answers', since: 0 } as const;
const direct = { kind: 'direct', endpoint: '192.0.2.1:5', why: '', since: 0 } as const;
const status = (more: Partial<NodeStatus> = {}): NodeStatus => ({
  network: { id: '', name: 'home', ipv4: '10.0.0.0/16', ipv6: 'fd00::/64', mtu: 1280 },
  self: {
    ...{ id: 1, name: 'a', fullName: 'a.home.lametun', ipv4: '10.0.0.1', ipv6: 'fd00::1', key: '' },
    ...{ admin: false, pending: false, interface: 'x', port: 1 },
  },
  hub: { state: 'connected', since: 0 },
  relay: { via: 'udp', why: '', since: 0 },
  peers: [],
  shares: [],
  names: { how: 'none' },
  warnings: [],
  ...more,
});

test('without a change nothing is printed', () => {
  const same = status({ peers: [peer(2, relayed)], warnings: ['w'] });
  assert.deepEqual(changes(same, same), []);
});

test('new members, gone members and new paths are printed once', () => {
  const before = status({ peers: [peer(2, relayed), peer(3, direct)] });
  const after = status({ peers: [peer(2, direct), peer(4, relayed)] });
  assert.deepEqual(changes(before, after), [
    'n2: direct 192.0.2.1:5',
    'n4 (10.0.0.4) is in the network',
    'n3 (10.0.0.3) is no longer in the network',
  ]);
});

test('changes of the hub, the relay, shares and warnings are printed with their reasons', () => {
  const self = { ...status().self, pending: true };
  const before = status({ self, shares: [{ network: '10.9.0.0/24', state: 'pending' }] });
  const after = status({
    hub: { state: 'away', why: 'nobody answers', since: 0 },
    relay: { via: 'websocket', why: 'UDP is blocked', since: 0 },
    shares: [{ network: '10.9.0.0/24', state: 'refused', why: 'it overlaps' }],
    warnings: ['look here'],
  });
  assert.deepEqual(changes(before, after), [
    'this node was approved; its addresses are 10.0.0.1 and fd00::1',
    'hub unreachable: nobody answers',
    'connected to the relay over WebSocket: UDP is blocked',
    'share 10.9.0.0/24 refused: it overlaps',
    'warning: look here',
  ]);
});

test('a new node first prints its hub, its relay, the members and the warnings', () => {
  const offline = { kind: 'offline', why: '', since: 0 } as const;
  const up = status({ peers: [peer(2, relayed), peer(3, offline)], warnings: ['look here'] });
  assert.deepEqual(firstLines(up, false), [
    'connected to the hub',
    'connected to the relay over UDP',
    'n2 (10.0.0.2) is in the network',
    'n3 (10.0.0.3) is in the network, offline',
    'warning: look here',
  ]);
  assert.deepEqual(firstLines(status({ warnings: ['look here'] }), true), ['warning: look here']);
  const away = status({
    hub: { state: 'away', why: 'x', since: 0 },
    relay: { via: 'none', why: '', since: 0 },
  });
  assert.deepEqual(firstLines(away, false), [], 'printed before');
  const many = Array.from({ length: 5_000 }, (_, i) => peer(i + 2, relayed));
  assert.deepEqual(firstLines(status({ peers: many }), true), ['5000 other nodes are in the network']);
});

test('a member that goes offline and comes back is printed', () => {
  const offline = { kind: 'offline', why: '', since: 0, lastSeen: 5 } as const;
  const [here, away] = [relayed, offline].map((path) => status({ peers: [peer(2, path)] }));
  assert.deepEqual(changes(here!, away!), ['n2: offline']);
  assert.deepEqual(changes(away!, here!), ['n2: relayed: nothing answers']);
});

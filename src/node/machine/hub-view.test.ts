import assert from 'node:assert/strict';
import { test } from 'node:test';
import { HubFailure } from './hub/hub-failure.js';
import { HubView } from './hub-view.js';

const NETWORK = { id: 'f00', name: 'home', ipv4: '10.77.0.0/16', ipv6: 'fd77::/64', mtu: 1280 };
const REMOTE = { address: Uint8Array.of(203, 0, 113, 5), port: 443 };
const connection = (network = NETWORK) => ({ where: '203.0.113.5:443', remote: REMOTE, network });
const away = { failure: new HubFailure('unreachable', 'nobody answers'), retryIn: 1_000 };

test('a hub that goes away keeps its address in the status, with the reason', () => {
  const hub = new HubView(NETWORK, 0);
  assert.equal(hub.status.state, 'connecting');
  hub.connected(connection(), 1);
  hub.disconnected(away, 2);
  assert.equal(hub.status.state, 'away');
  assert.equal(hub.status.address, '203.0.113.5:443');
  assert.equal(hub.status.why, 'nobody answers');
  assert.deepEqual(hub.address, REMOTE.address);
});

test('a hub that refuses, or is not tried again, is shown as refusing', () => {
  const hub = new HubView(NETWORK, 0);
  hub.disconnected({ ...away, retryIn: undefined }, 3);
  assert.equal(hub.status.state, 'refused');
  hub.disconnected({ failure: new HubFailure('refused', 'too old'), retryIn: 30_000 }, 4);
  assert.equal(hub.status.state, 'refused');
  hub.disconnected(away, 2);
  assert.equal(hub.status.state, 'away');
});

test('a changed range is a warning until the original range is back', () => {
  const hub = new HubView(NETWORK, 0);
  hub.connected(connection({ ...NETWORK, ipv4: '10.0.0.0/8' }), 1);
  assert.match(hub.warnings(5).join(), /10\.0\.0\.0\/8 .*ignored, this machine joined with 10\.77\.0\.0\/16/);
  hub.connected(connection(), 1);
  assert.deepEqual(hub.warnings(5), []);
});

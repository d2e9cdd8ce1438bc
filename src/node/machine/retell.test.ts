import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Answers, OfferedShare } from '../../protocol/messages.js';
import type { StoredNode } from '../shell/state.js';
import type { HubClient } from './hub/hub-client.js';
import { HubFailure } from './hub/hub-failure.js';
import { retell } from './retell.js';

const offer = (network: string, state: OfferedShare['state']): OfferedShare => ({ network, state });

/** A node that offers something, a hub that says something of it, and what comes of that. */
async function told(
  wanted: readonly string[],
  known: readonly OfferedShare[],
  { hasIpv6 = true, ipv4Only, fails = false }: { hasIpv6?: boolean; ipv4Only?: true; fails?: boolean } = {},
) {
  const asked: unknown[] = [];
  const seen: { shares?: readonly OfferedShare[]; errors: string[] } = { errors: [] };
  const answer = { shares: wanted.map((network) => offer(network, 'pending')) };
  const request = async (type: keyof Answers, args: object) => {
    asked.push({ type, ...args });
    if (fails) throw new HubFailure('refused', 'not now');
    return answer;
  };
  const you = {
    ...{ id: 2, name: 'gateway', ipv4: '10.77.0.2', ipv6: 'fd77::2', admin: false, pending: false },
    ...(ipv4Only && { ipv4Only }),
    shares: known,
  };
  const node: StoredNode = {
    network: { id: 'f00', name: 'home', ipv4: '10.77.0.0/16', ipv6: 'fd77::/64', mtu: 1280 },
    ...{ you, hub: { key: '', addresses: [], proven: [] }, port: 1, device: 'lametun0', shares: wanted },
  };
  await retell({
    client: { request: request as unknown as HubClient['request'] },
    ...{ node, hasIpv6 },
    onShares: (shares) => {
      seen.shares = shares;
    },
    log: { error: (message) => void seen.errors.push(message) },
  });
  return { asked, ...seen };
}

test('a hub that knows everything is told nothing', async () => {
  assert.deepEqual(await told([], []), { asked: [], errors: [] });
  const known = [offer('10.5.0.0/16', 'refused'), offer('192.168.1.0/24', 'approved')];
  assert.deepEqual((await told(['192.168.1.7/24', '10.5.0.0/16', '192.168.1.0/24'], known)).asked, []);
  assert.deepEqual((await told([], [], { hasIpv6: false, ipv4Only: true })).asked, []);
});

test('a hub that has forgotten what is offered is told again', async () => {
  const { asked, shares } = await told(['192.168.1.0/24', '10.5.0.0/16'], [offer('10.5.0.0/16', 'approved')]);
  assert.deepEqual(asked, [{ type: 'share', shares: ['192.168.1.0/24', '10.5.0.0/16'] }]);
  assert.deepEqual(shares, [offer('192.168.1.0/24', 'pending'), offer('10.5.0.0/16', 'pending')]);
});

test('so is one that remembers what is not offered any more', async () => {
  const { asked, shares } = await told([], [offer('10.5.0.0/16', 'approved')]);
  assert.deepEqual([asked, shares], [[{ type: 'share', shares: [] }], []]);
});

test('a hub that thinks otherwise of IPv6 here is told', async () => {
  assert.deepEqual((await told([], [], { hasIpv6: false })).asked, [{ type: 'inside', ipv6: false }]);
  assert.deepEqual((await told([], [], { ipv4Only: true })).asked, [{ type: 'inside', ipv6: true }]);
});

test('a hub that does not take it is no reason to stop', async () => {
  const { errors, shares } = await told(['10.5.0.0/16'], [], { fails: true });
  assert.deepEqual([errors.length, shares], [1, undefined]);
  assert.match(errors[0]!, /could not be told what this node offers: not now/);
});

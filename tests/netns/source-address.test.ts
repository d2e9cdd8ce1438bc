import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseAddress } from '../../src/ip/address.js';
import { EgressLookup } from '../../src/linux/net/egress.js';
import { findLink } from '../../src/linux/net/link.js';
import { connect } from '../../src/linux/process/namespace.js';
import { needs } from '../kit/requirements.js';
import { assertPing, ping } from '../kit/traffic.js';
import { until } from '../kit/wait.js';
import { PORT, WireGuardPair } from '../kit/wireguard-pair.js';

/*
 * The source address of outgoing packets, as in "a better route takes over" of the kernel's own tests
 * (tools/testing/selftests/wireguard/netns.sh).
 */

const OUTSIDE = [
  {
    first: '192.0.2.1',
    second: '192.0.2.2',
    also: '192.0.2.3',
    better: '198.51.100.1',
    gateway: '198.51.100.2',
    ...{ bits: 24, one: 32 },
    ...{ other: '203.0.113.0/24', nowhere: '8.8.8.8' },
  },
  {
    first: '2001:db8::1',
    second: '2001:db8::2',
    also: '2001:db8::3',
    better: '2001:db8:1::1',
    gateway: '2001:db8:1::2',
    ...{ bits: 64, one: 128 },
    ...{ other: '2001:db8:7::/64', nowhere: '2001:db9::1' },
  },
] as const;
const withPort = (address: string): string =>
  address.includes(':') ? `[${address}]:${PORT}` : `${address}:${PORT}`;

test('the source address follows the best route; of two addresses on one device, replies use the one that was addressed', async (t) => {
  if (!needs(t, 'root', 'tun', 'wg', 'netns', 'ping')) return;
  const pair = await WireGuardPair.start(t, { implementations: ['lametund', 'lametund'] });
  const { first, second } = pair;
  connect(
    {
      namespace: first.host,
      device: 'eth1',
      addresses: OUTSIDE.map(({ better, bits }) => `${better}/${bits}`),
    },
    {
      namespace: second.host,
      device: 'eth1',
      addresses: OUTSIDE.map(({ gateway, bits }) => `${gateway}/${bits}`),
    },
  );
  for (const { host } of [first, second]) {
    host.sysctl(
      Object.fromEntries(['all', 'eth0', 'eth1'].map((name) => [`net.ipv4.conf.${name}.rp_filter`, 0])),
    );
  }
  first.host.ip(['address add 2001:db8::1/64 dev eth0 nodad']);
  second.host.ip(['address add 2001:db8::2/64 dev eth0 nodad']);
  const lookup = second.host.inside(() => new EgressLookup());
  t.after(() => lookup.close());
  const seenAt = async (address: string): Promise<void> => {
    await until(`packets to leave from ${address}`, async () => {
      await ping(first.host, second.inner.v4);
      return pair.endpointSeenBy(second) === withPort(address);
    });
  };

  for (const { better, gateway, also, bits, one, other, nowhere, ...outer } of OUTSIDE) {
    first.wireguard.set('peer', second.key.publicKey, 'endpoint', withPort(outer.second));
    await seenAt(outer.first);
    const route = `${outer.second}/${one} via ${gateway} dev eth1`;
    first.host.ip([`route add ${route}`]);
    await seenAt(better);
    first.host.ip([`route del ${route}`]);
    await seenAt(outer.first);

    // The other side has two addresses on one device, and its routes change.
    second.host.ip([`address add ${also}/${bits} dev eth0${bits === 64 ? ' nodad' : ''}`]);
    first.wireguard.set('peer', second.key.publicKey, 'endpoint', withPort(also));
    await assertPing(first.host, second.inner.v4);
    second.host.ip([`route add ${other} dev eth0`]);
    await assertPing(first.host, second.inner.v4);
    assert.equal(pair.endpointSeenBy(first), withPort(also));

    const egress = (from: string, to: string) => lookup.find(parseAddress(from)!, parseAddress(to)!, 0);
    const [eth0, eth1] = ['eth0', 'eth1'].map((name) => second.host.inside(() => findLink(name)!.index));
    assert.equal(egress(also, outer.first), eth0);
    assert.equal(egress(gateway, better), eth1);
    assert.equal(egress(outer.first, better), 'not a local address');
    assert.equal(egress(also, outer.second), 'local');
    assert.equal(egress(also, nowhere), 'no route');
  }
});

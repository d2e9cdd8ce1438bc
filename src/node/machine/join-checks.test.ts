import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LametunError } from '../../errors.js';
import { parseAddress } from '../../ip/address.js';
import { parseCidr } from '../../ip/cidr.js';
import type { Rule } from '../../linux/net/routing.js';
import type { Membership, NetworkInfo } from '../../protocol/messages.js';
import { checkMembership, checkNetwork } from './join-checks.js';
import type { TableRoute } from './ranges.js';

const network: NetworkInfo = { id: 'n', name: 'home', ipv4: '10.76.0.0/15', ipv6: 'fd77::/64', mtu: 1280 };
const you: Membership = {
  ...{ id: 1, name: 'a', ipv4: '10.76.0.1', ipv6: 'fd77::1' },
  ...{ admin: false, pending: false, shares: [] },
};
const MAIN = {
  family: 4,
  priority: 32_766,
  action: 'lookup',
  table: 254,
  mark: 0,
  mask: 0,
  suppressPrefix: -1,
};
const rules = [MAIN as Rule];
const around = { routing: { routes: [], rules }, hubs: [], hosts: [], shares: [] };
const address = (text: string) => parseAddress(text)!;
const refused = (code: string, why: RegExp) => (error: unknown) =>
  error instanceof LametunError && error.code === code && why.test(error.message);

test('a network must have private ranges that are not too wide', () => {
  checkNetwork(network, around);
  for (const ipv4 of ['192.168.0.0/16', '100.64.0.0/15', '172.30.0.0/15', '10.0.0.0/24'])
    checkNetwork({ ...network, ipv4 }, around);
  for (const ipv4 of [
    '0.0.0.0/0',
    '0.0.0.0/1',
    '8.8.8.0/24',
    '172.32.0.0/16',
    '198.51.100.0/24',
    '127.0.0.0/16',
  ])
    assert.throws(
      () => checkNetwork({ ...network, ipv4 }, around),
      refused('refused', /is not a private range/),
      ipv4,
    );
  for (const ipv6 of ['::/0', '2000::/3', '2001:db8::/48', 'fe80::/64'])
    assert.throws(
      () => checkNetwork({ ...network, ipv6 }, around),
      refused('refused', /is not a private range/),
      ipv6,
    );
  assert.throws(
    () => checkNetwork({ ...network, ipv4: '10.0.0.0/8' }, around),
    refused('refused', /too wide/),
  );
  assert.throws(() => checkNetwork({ ...network, ipv6: 'fd00::/8' }, around), refused('refused', /too wide/));
});

test('the hub and the name servers must be outside the range, even behind a default route', () => {
  for (const host of ['10.77.3.4', 'fd77::53'])
    assert.throws(
      () => checkNetwork(network, { ...around, hosts: [address(host)] }),
      refused('refused', new RegExp(`contains ${host}, which must be reached outside the network`)),
    );
  assert.throws(
    () => checkNetwork(network, { ...around, hubs: [address('10.77.3.4')] }),
    refused('refused', /contains 10\.77\.3\.4/),
  );
  checkNetwork(network, { ...around, hubs: [address('10.77.3.4'), address('203.0.113.5')] });
  checkNetwork(network, { ...around, hosts: [address('10.78.0.1')] });
});

test('a range that contains routes of this machine is refused; a range within a wider route is not', () => {
  const route = (text: string): TableRoute => ({
    destination: parseCidr(text)!,
    name: `the route ${text} dev eth0`,
    ...{ local: false, kind: 'unicast', table: 254, gateway: undefined },
  });
  const beside = (text: string) => ({ ...around, routing: { routes: [route(text)], rules } });
  assert.throws(
    () => checkNetwork(network, beside('10.77.8.0/24')),
    refused('refused', /collides with the route 10\.77\.8\.0\/24 dev eth0; .*--range/),
  );
  checkNetwork(network, beside('10.0.0.0/8'));
  checkNetwork(network, beside('10.78.0.0/16'));
});

test('the joined network must be the one of the invitation, and the address must be in its range', () => {
  checkMembership(network, network, you);
  const { ipv4: _, ipv6: __, ...waiting } = { ...you, pending: true };
  checkMembership(network, network, waiting);
  for (const other of [
    { ipv4: '0.0.0.0/0' },
    { ipv6: '::/0' },
    { name: 'other' },
    { id: 'm' },
    { mtu: 1500 },
  ])
    assert.throws(
      () => checkMembership(network, { ...network, ...other }, you),
      refused('protocol', /not the network of the invitation/),
      JSON.stringify(other),
    );
  assert.throws(
    () => checkMembership(undefined, network, you),
    refused('protocol', /not the network of the invitation/),
  );
  for (const other of [{ ipv4: '8.8.8.8' }, { ipv4: '10.77.0.1' }, { ipv6: '2001:db8::1' }])
    assert.throws(
      () => checkMembership(network, network, { ...you, ...other }),
      refused('protocol', /outside the network/),
    );
});

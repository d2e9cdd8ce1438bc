import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseAddress } from '../../ip/address.js';
import { formatCidr, parseCidr } from '../../ip/cidr.js';
import { planRange, RANGE_METRIC } from './range-routes.js';
import type { LocalRoute } from './ranges.js';

const RANGE = parseCidr('10.7.0.0/16')!;
const MEMBERS = ['10.7.0.1', '10.7.0.254', '10.7.9.9'].map((ipv4, i) => ({
  name: `member-${i}`,
  ipv4,
  ipv6: `fd00::${i + 1}`,
}));

/** The planned routes on a machine with other routes, and with addresses that it needs outside the tunnel. */
function plan(others: readonly string[], needed: readonly string[] = [], own: readonly string[] = []) {
  const local = (text: string, isOwn: boolean): LocalRoute => ({
    destination: parseCidr(text)!,
    name: `the route ${text}`,
    local: isOwn,
  });
  const { routes, warnings } = planRange(RANGE, MEMBERS, {
    routes: [...others.map((text) => local(text, false)), ...own.map((text) => local(`${text}/32`, true))],
    needed: needed.map((text) => parseAddress(text)!),
  });
  const texts = routes.map(
    ({ destination, metric }) => `${formatCidr(destination)}${metric === undefined ? '' : ' gives way'}`,
  );
  return { routes: texts, warnings };
}

test('without a collision, the range is one route, which yields to the routes of other networks', () => {
  assert.deepEqual(plan(['192.168.1.0/24'], ['192.168.1.1']), {
    routes: ['10.7.0.0/16 gives way'],
    warnings: [],
  });
  assert.ok(RANGE_METRIC > 20_600, "NetworkManager's for a Wi-Fi that leads nowhere");
});

test('in a LAN with the same range, each member has its own route, except at addresses that the LAN needs', () => {
  const { routes, warnings } = plan(['10.7.0.0/16'], ['10.7.0.254', '8.8.8.8'], ['10.7.0.20']);
  assert.deepEqual(routes, ['10.7.0.1/32', '10.7.9.9/32']);
  assert.deepEqual(warnings, [
    'member-1 cannot be reached at 10.7.0.254: that address must be reached outside the network',
  ]);
});

test('in a LAN with a part of the range, only members in that part have their own routes', () => {
  assert.deepEqual(plan(['10.7.0.0/24'], ['10.7.0.254']).routes, ['10.7.0.0/16 gives way', '10.7.0.1/32']);
});

test('a wider LAN yields to the range, unless its gateway is inside the range', () => {
  assert.deepEqual(plan(['10.0.0.0/8'], ['10.0.0.254']).routes, ['10.7.0.0/16 gives way']);
  assert.deepEqual(plan(['10.0.0.0/8'], ['10.7.0.254']).routes, ['10.7.0.1/32', '10.7.9.9/32']);
});

test('an address that this machine has in a LAN is not routed to a member', () => {
  const { routes, warnings } = plan(['10.7.0.0/24'], [], ['10.7.0.1']);
  assert.deepEqual(routes, ['10.7.0.0/16 gives way', '10.7.0.254/32']);
  assert.deepEqual(warnings, [
    'member-0 cannot be reached at 10.7.0.1: that address is an address of this machine',
  ]);
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseAddress } from '../../ip/address.js';
import { type Cidr, parseCidr } from '../../ip/cidr.js';
import type { Rule } from '../../linux/net/routing.js';
import { rangeObstacles } from './range-obstacles.js';
import type { TableRoute } from './ranges.js';

const cidr = (text: string): Cidr => parseCidr(text)!;
const RANGES = [cidr('10.76.0.0/15'), cidr('fd12:3456:789a::/64')];

/** `10.0.0.0/8`, through `dev`. */
const route = (text: string, dev = 'eth0', more: Partial<TableRoute> = {}): TableRoute => ({
  destination: cidr(text),
  name: `the route ${text} dev ${dev}`,
  ...{ local: false, kind: 'unicast', table: 254, gateway: undefined },
  ...more,
});
const rule = (priority: number, table: number, more: Partial<Rule> = {}): Rule => ({
  ...{ family: 4, priority, action: 'lookup', table, target: undefined, to: undefined, from: undefined },
  ...{ inputDevice: undefined, outputDevice: undefined, mark: 0, mask: 0xffff_ffff, suppressPrefix: -1 },
  ...{ isOfMaster: false, isPartial: false, isInverted: false },
  ...more,
});
/** The rules of every machine. */
const RULES: readonly Rule[] = ([4, 6] as const).flatMap((family) =>
  (
    [
      [0, 255],
      [32_766, 254],
      [32_767, 253],
    ] as const
  ).map(([priority, table]) => rule(priority, table, { family })),
);
const DEFAULT = route('0.0.0.0/0');

const found = (routes: readonly TableRoute[], rules: readonly Rule[] = [], ranges = RANGES) =>
  rangeObstacles(ranges, { routes, rules: [...RULES, ...rules] });
const works = (routes: readonly TableRoute[], rules: readonly Rule[] = []): void =>
  assert.deepEqual(found(routes, rules), { refusals: [], warnings: [] });
const refused = (routes: readonly TableRoute[], why: RegExp, rules: readonly Rule[] = []): void =>
  assert.match(found(routes, rules).refusals[0] ?? 'nothing', why);
const warned = (routes: readonly TableRoute[], what: RegExp, rules: readonly Rule[] = []): void => {
  const { refusals, warnings } = found(routes, rules);
  assert.deepEqual(refusals, []);
  assert.match(warnings[0] ?? 'nothing', what);
};

test('networks elsewhere and default routes are no obstacles', () => {
  const halves = [route('0.0.0.0/1', 'tun0'), route('128.0.0.0/1', 'tun0'), route('::/0')];
  works([DEFAULT, ...halves, route('192.168.1.0/24'), route('10.78.0.0/16'), route('fd12:3456:789b::/64')]);
  works([route('10.0.0.0/8', '', { kind: 'dead-end' })]); // a dead end around it: the network's route is more specific
});

test('a route, dead end or address inside the range is refused, even in the half reserved for copies', () => {
  refused([route('10.76.0.0/15')], /^10\.76\.0\.0\/15 collides with the route 10\.76\.0\.0\/15 dev eth0$/);
  refused([route('10.77.3.0/24', 'wg0')], /collides with the route 10\.77\.3\.0\/24 dev wg0$/);
  refused([route('10.76.9.0/24', '', { kind: 'dead-end' })], /10\.76\.9\.0\/24/);
  refused([route('fd12:3456:789a::5/128')], /^fd12:3456:789a::\/64 collides/);
  const address = {
    kind: 'local',
    local: true,
    table: 255,
    name: "this machine's address 10.76.0.9 dev lo",
  } as const;
  refused([route('10.76.0.9/32', 'lo', address)], /this machine's address 10\.76\.0\.9/);
});

test('a wider route around the range yields to it, with a warning', () => {
  const corporate = route('10.0.0.0/8', 'tun1', { gateway: parseAddress('192.168.7.1')! });
  warned(
    [DEFAULT, corporate],
    /^The network's range 10\.76\.0\.0\/15 is part of the route 10\.0\.0\.0\/8 dev tun1/,
  );
  warned([route('fd00::/8', 'dn42')], /fd12:3456:789a::\/64 .*the route fd00::\/8 dev dn42/);
});

test('a gateway inside the range is refused, even if its network is wider', () => {
  const gateway = parseAddress('10.76.0.1')!;
  const lan = route('10.0.0.0/8');
  refused([lan, { ...DEFAULT, gateway }], /contains 10\.76\.0\.1, the gateway of the route 0\.0\.0\.0\/0/);
});

test('a rule before the main table captures packets through any route in its table', () => {
  const in52 = { table: 52 } as const;
  const before = rule(5270, 52);
  for (const text of ['0.0.0.0/0', '10.0.0.0/8', '10.77.3.4/32'])
    refused(
      [route(text, 'tailscale0', in52)],
      /^the routing rule 5270 sends packets to 10\.76\.0\.0\/15 to table 52, which has the route .* dev tailscale0$/,
      [before],
    );
  works([route('100.100.100.100/32', 'tailscale0', in52)], [before]);
  works([route('0.0.0.0/0', 'tun9', in52), route('10.0.0.0/8', 'x', { ...in52, kind: 'throw' })], [before]);
  refused([], /the routing rule 100 rejects packets to 10\.76\.0\.0\/15 \(prohibit\)/, [
    rule(100, 0, { action: 'prohibit' }),
  ]);
});

test('a rule that packets of local programs never reach is no obstacle', () => {
  const all = route('0.0.0.0/0', 'tun9', { table: 9 });
  for (const other of [
    rule(100, 9, { mark: 0xca6c }),
    rule(100, 9, { inputDevice: 'eth1' }),
    rule(100, 9, { outputDevice: 'eth1' }),
    rule(100, 9, { isOfMaster: true }),
    rule(100, 9, { to: cidr('192.168.0.0/16') }),
    rule(100, 9, { from: cidr('192.168.1.5/32') }),
    rule(100, 9, { family: 6, to: cidr('fd99::/64') }),
    rule(100, 9, { action: 'nop' }),
    rule(40_000, 9),
  ])
    works([all], [other]);
  for (const other of [
    rule(100, 9, { mark: 0xca6c, isInverted: true }),
    rule(100, 9, { from: cidr('10.0.0.0/8') }),
    rule(100, 9, { to: cidr('10.77.0.0/16') }),
    rule(100, 9, { isPartial: true }),
  ])
    refused([all], /the routing rule 100/, [other]);
});

test('a default route in another table is no obstacle if the main table comes first', () => {
  const all = route('0.0.0.0/0', 'wg9', { table: 51_820 });
  const rules = [
    rule(32_764, 254, { suppressPrefix: 0 }),
    rule(32_765, 51_820, { mark: 51_820, isInverted: true }),
  ];
  works([all, DEFAULT], rules);
  refused([all, DEFAULT], /rule 32765/, rules.slice(1));
  works([all], [rule(10, 254, { to: cidr('10.0.0.0/8') }), rule(20, 51_820)]); // what a user can add
  works([all], [rule(10, 0, { action: 'goto', target: 30 }), rule(20, 51_820)]);
});

test('a route that only some packets use is a warning', () => {
  const marked = rule(100, 77, { mark: 1 });
  warned(
    [route('10.76.0.0/16', 'vpn0', { table: 77 })],
    /collides with the route 10\.76\.0\.0\/16 dev vpn0 of routing table 77/,
    [marked],
  );
});

test('a second user of the shared address space 100.64.0.0/10 is refused, and named', () => {
  const range = [cidr('100.72.0.0/15')];
  const own = {
    kind: 'local',
    local: true,
    table: 255,
    name: "this machine's address 100.101.102.103 dev tailscale0",
  } as const;
  const tailscale = route('100.101.102.103/32', 'tailscale0', own);
  assert.match(
    found([tailscale], [], range).refusals[0]!,
    /Tailscale or a carrier uses here: this machine's address 100\.101\.102\.103/,
  );
  assert.deepEqual(found([DEFAULT, route('192.168.1.0/24')], [], range).refusals, []);
  works([tailscale]);
});

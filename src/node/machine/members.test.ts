import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseAddress } from '../../ip/address.js';
import { parseCidr } from '../../ip/cidr.js';
import { NetworkMap } from '../../protocol/map.js';
import type { MapNode, NetworkInfo } from '../../protocol/messages.js';
import { MemberChecks } from './members.js';

const network: NetworkInfo = { id: 'n', name: 'home', ipv4: '10.77.0.0/16', ipv6: 'fd77::/64', mtu: 1280 };
const key = (id: number): string => Buffer.alloc(32, id).toString('base64');

const node = (id: number, changes: Partial<MapNode> = {}): MapNode => ({
  ...{ id, name: `n${id}`, key: key(id), ipv4: `10.77.0.${id}`, ipv6: `fd77::${id}`, shares: [] },
  ...changes,
});

const checks = (): MemberChecks => new MemberChecks(network, node(1));
const added = (...nodes: readonly MapNode[]) => ({ added: nodes, changed: [], removed: [] });
const around = { routes: [], ownShares: [], hosts: [] };
const ids = (members: Iterable<{ readonly id: number }>): number[] => [...members].map(({ id }) => id);

test('a node accepts its addresses once, at approval, and only valid ones', () => {
  const { ipv4: _, ipv6: __, ...waiting } = node(1);
  const members = new MemberChecks(network, waiting);
  members.apply(added(node(2)));
  assert.equal(members.placeSelf({}), undefined);
  for (const [lie, why] of [
    [{ ipv4: '8.8.8.8', ipv6: 'fd77::1' }, /8\.8\.8\.8 is outside the members' range/],
    [{ ipv4: '10.77.0.1', ipv6: 'fd77::2' }, /fd77::2 of n2/],
  ] as const) {
    assert.equal(members.placeSelf(lie), undefined);
    assert.match(members.warnings().join(), why);
  }
  const own = { ipv4: '10.77.0.1', ipv6: 'fd77::1' };
  assert.deepEqual(members.placeSelf(own), own);
  assert.deepEqual(members.warnings(), []);
  assert.deepEqual(members.placeSelf({ ipv4: '10.77.0.9', ipv6: 'fd77::9' }), own);
  assert.deepEqual(members.apply(added(node(1), node(3, { ipv4: '10.77.0.1' }))).added, []);
  assert.match(members.warnings().join(), /10\.77\.0\.1 of this node/);
});

test('members are added, change their shares, and are removed', () => {
  const members = checks();
  assert.deepEqual(ids(members.apply(added(node(1), node(2), node(3))).added), [2, 3]);
  const shares = ['192.168.5.0/24'];
  const change = members.apply({ added: [], changed: [node(2, { shares })], removed: [node(3)] });
  assert.deepEqual([ids(change.changed), ids(change.removed)], [[2], [3]]);
  assert.deepEqual([...members.planShares(around)], [['192.168.5.0/24', 2]]);
  assert.deepEqual(members.warnings(), []);
});

const LIES: readonly (readonly [what: string, node: MapNode, why: RegExp])[] = [
  [
    'an address outside of the network',
    node(3, { ipv4: '192.168.1.1' }),
    /outside the members' range 10\.77\.0\.0\/17/,
  ],
  [
    'an address that is kept for copies',
    node(3, { ipv4: '10.77.128.1' }),
    /10\.77\.128\.1 is outside the members' range/,
  ],
  ['an IPv6 address outside of it', node(3, { ipv6: '2001:db8::1' }), /outside the members' range fd77/],
  ["this node's address", node(3, { ipv4: '10.77.0.1' }), /10\.77\.0\.1 of this node/],
  ["another member's address", node(3, { ipv6: 'fd77::2' }), /fd77::2 of n2/],
  ["this node's key", node(3, { key: key(1) }), /it has the key of this node/],
  ["another member's key", node(3, { key: key(2) }), /it has the key of n2/],
  ["another member's name", node(3, { name: 'n2' }), /it has the name of node 2/],
  ["this node's name", node(3, { name: 'n1' }), /it has the name of node 1/],
];

for (const [what, lie, why] of LIES) {
  test(`a hub that gives a new member ${what} is refused, with a warning until that ends`, () => {
    const members = checks();
    members.apply(added(node(2)));
    assert.deepEqual(members.apply(added(lie)).added, []);
    assert.equal(members.warnings().length, 1);
    assert.match(members.warnings()[0]!, why);
    assert.deepEqual(ids(members.all()), [2]);
    assert.deepEqual(ids(members.apply({ added: [], changed: [node(3)], removed: [] }).added), [3]);
    assert.deepEqual(members.warnings(), []);
  });
}

for (const [what, change, why] of [
  ['key', { key: key(9) }, /its key has changed/],
  ['IPv4 address', { ipv4: '10.77.0.9' }, /its address has changed/],
  ['IPv6 address', { ipv6: 'fd77::9' }, /its address has changed/],
  ['name, where another has the new one', { name: 'n1' }, /node 1 has the name n1, so it stays n2/],
] as const) {
  test(`a member keeps its ${what}, whatever the hub says, also after a restart`, () => {
    const map = new NetworkMap();
    const members = checks();
    const version = (revision: number) => ({ epoch: 'e', revision });
    members.apply(map.applyMap({ type: 'map', version: version(1), nodes: [node(1), node(2)] }));
    const delta = {
      type: 'delta',
      from: 1,
      version: version(2),
      nodes: [node(2, change)],
      removed: [],
    } as const;
    const changed = map.applyDelta(delta);
    assert.ok(changed !== 'resync');
    members.apply(changed);
    assert.match(members.warnings().join(), why);
    assert.deepEqual({ ...members.get(2) }, node(2));

    const stored = { type: 'map', version: map.version!, nodes: members.trusted(map.nodes()) } as const;
    const again = checks();
    again.apply(new NetworkMap().applyMap(stored));
    assert.deepEqual({ ...again.get(2) }, node(2));
  });
}

const renamed = (...nodes: readonly MapNode[]) => ({ added: [], changed: nodes, removed: [] });
const namesOf = (members: MemberChecks): string =>
  [...members.all()].map(({ id, name }) => `${id} ${name}`).join();

test('a member takes the name that the hub gives it, and its old name becomes free', () => {
  const members = checks();
  members.apply(added(node(2), node(3)));
  assert.deepEqual(ids(members.apply(renamed(node(2, { name: 'office' }))).changed), [2]);
  assert.equal(namesOf(members), '2 office,3 n3');
  members.apply(added(node(4, { name: 'n2' })));
  members.apply(renamed(node(2, { name: 'n3' }), node(3, { name: 'office' })));
  assert.equal(namesOf(members), '2 n3,3 office,4 n2');
  assert.deepEqual(members.warnings(), []);
});

test('a renamed member keeps its key', () => {
  const members = checks();
  members.apply(added(node(2)));
  members.apply(renamed(node(2, { name: 'office', key: key(9) })));
  assert.deepEqual([members.get(2)!.key, members.warnings().length], [key(2), 1]);
});

test('this node takes the name that the hub gives it, once no other member has that name', () => {
  const members = checks();
  members.apply(added(node(2)));
  members.callSelf('laptop');
  assert.equal(members.ownName, 'laptop');
  members.callSelf('n2'); // it was told before it was told that n2 is called something else
  assert.equal(members.ownName, 'laptop');
  assert.match(
    members.warnings().join(),
    /gives this node the name n2, which another member has: it stays laptop/,
  );
  members.apply(renamed(node(2, { name: 'office' })));
  assert.deepEqual([members.ownName, namesOf(members), members.warnings()], ['n2', '2 office', []]);
  assert.equal(members.apply(added(node(3, { name: 'n1' }))).added.length, 1, 'its old name is free');
  assert.equal(members.apply(added(node(4, { name: 'n2' }))).added.length, 0);
  assert.match(members.warnings().join(), /it has the name of node 1/);
});

test('a member may gain or lose IPv6', () => {
  const members = checks();
  members.apply(added(node(2)));
  const changed = node(2, { ipv4Only: true });
  assert.deepEqual(members.apply({ added: [], changed: [changed], removed: [] }).changed, [changed]);
  members.apply({ added: [], changed: [node(2)], removed: [] });
  assert.deepEqual([members.get(2), members.warnings()], [node(2), []]);
});

test('a refused member does not come first after a restart', () => {
  const map = new NetworkMap();
  const members = checks();
  const nodes = [node(5), node(2, { key: key(5) })];
  members.apply(map.applyMap({ type: 'map', version: { epoch: 'e', revision: 1 }, nodes }));
  assert.deepEqual(ids(members.all()), [5]);
  assert.deepEqual(ids(members.trusted(map.nodes())), [5, 2]);
});

test('a node that is removed and joins again may get its old name and address', () => {
  const members = checks();
  members.apply(added(node(2)));
  const anew = node(3, { name: 'n2', ipv4: '10.77.0.2', ipv6: 'fd77::2' });
  assert.deepEqual(ids(members.apply({ added: [anew], changed: [], removed: [node(2)] }).added), [3]);
  assert.deepEqual(members.warnings(), []);
});

test('a false map entry for this node itself is a warning', () => {
  const members = checks();
  members.apply(added(node(1, { key: key(9) })));
  assert.match(members.warnings().join(), /wrong key or address of this node/);
});

test('shares that would capture other traffic are not routed', () => {
  const members = checks();
  const bad: readonly (readonly [share: string, why: RegExp])[] = [
    ['0.0.0.0/0', /too wide/],
    ['::/0', /too wide/],
    ['10.77.3.0/24', /overlaps the network's own range/],
    ['192.168.7.0/24', /which this machine shares itself/],
    ['203.0.113.0/24', /contains 203\.0\.113\.5/],
    ['172.16.0.0/12', /the route 172\.16\.5\.0\/24/],
    ['127.0.0.0/8', /not a network that others can reach/],
  ];
  members.apply(
    added(node(2, { shares: bad.map(([share]) => share) }), node(3, { shares: ['192.168.9.0/24'] })),
  );
  const plan = members.planShares({
    routes: [
      { destination: parseCidr('172.16.5.0/24')!, name: 'the route 172.16.5.0/24 dev eth0', local: false },
    ],
    ownShares: [parseCidr('192.168.7.0/24')!],
    hosts: [parseAddress('203.0.113.5')!],
  });
  assert.deepEqual([...plan], [['192.168.9.0/24', 3]]);
  for (const [share, why] of bad) {
    const warning = members.warnings().find((text) => text.includes(share));
    assert.match(warning ?? '', why, share);
  }
});

test('of two members with the same share, the first gets the route, and the second after the first is removed', () => {
  const members = checks();
  members.apply(added(node(3, { shares: ['192.168.9.0/25'] }), node(2, { shares: ['192.168.9.0/24'] })));
  assert.deepEqual([...members.planShares(around)], [['192.168.9.0/24', 2]]);
  assert.match(members.warnings().join(), /192\.168\.9\.0\/25 overlaps 192\.168\.9\.0\/24 of n2/);
  members.apply({ added: [], changed: [], removed: [node(2)] });
  assert.deepEqual([...members.planShares(around)], [['192.168.9.0/25', 3]]);
  assert.deepEqual(members.warnings(), []);
});

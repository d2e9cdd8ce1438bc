import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import * as v from 'valibot';
import { LametunError } from '../errors.js';
import { areMapNodes } from './map-node.js';
import {
  type AdminRequest,
  adminRequest,
  type HubMessage,
  type NodeMessage,
  REFUSALS,
  slowNodes,
} from './messages.js';
import {
  parse,
  parseAdminAnswer,
  parseAnswer,
  parseHello,
  parseHubMessage,
  parseNodeMessage,
  parseWelcome,
} from './parse.js';

const key = Buffer.alloc(32, 7).toString('base64');
const secret = Buffer.alloc(16, 7).toString('base64');
const mapNode = { id: 1, name: 'a', key, ipv4: '10.0.0.1', ipv6: 'fd00::1', shares: ['192.168.1.0/24'] };
const version = { epoch: 'e1', revision: 4 };
const offered = [{ network: '10.1.0.0/16', state: 'refused', why: 'overlaps 10.0.0.0/8 of office' }] as const;
const you = {
  id: 1,
  name: 'a',
  ipv4: '10.0.0.1',
  ipv6: 'fd00::1',
  admin: false,
  pending: false,
  shares: offered,
};
const waiting = { id: 2, name: 'b', admin: false, pending: true, shares: [] };
const network = { id: 'n', name: 'home', ipv4: '10.0.0.0/16', ipv6: 'fd00::/64', mtu: 1280 };
const relay = { port: 443, session: Buffer.alloc(8).toString('base64'), key };

const requests: readonly AdminRequest[] = [
  { op: 'invite', expires: 3600, reusable: true, uses: 5, admin: false, shares: [] },
  { op: 'invite', expires: 3600, reusable: false, admin: true, shares: ['10.0.0.0/8'] },
  { op: 'invites' },
  { op: 'revoke', invite: 'x1' },
  { op: 'nodes' },
  { op: 'remove', node: 'laptop' },
  { op: 'approve', node: '17' },
  { op: 'approve', node: 'a', shares: [] },
];
const as = { run: 'a1', turn: 7 };
const nodeMessages: readonly NodeMessage[] = [
  { type: 'check-invitation', id: 0, secret },
  { type: 'join', id: 1, secret, name: 'my-laptop', shares: ['192.168.1.0/24', 'fd01::/48'] },
  { type: 'attach', id: 2, network: 'n', as },
  { type: 'attach', id: 2, network: 'n', as, have: version },
  { type: 'share', id: 3, shares: [] },
  { type: 'leave', id: 4 },
  { type: 'who', id: 5 },
  ...requests.map((request): NodeMessage => ({ type: 'admin', id: 6, request })),
];
const hubMessages: readonly HubMessage[] = [
  { type: 'answer', re: 1, value: { anything: ['at all'] } },
  ...REFUSALS.map((code): HubMessage => ({ type: 'refused', re: 1, code, message: 'it is \u2018so\u2019' })),
  { type: 'map', version, nodes: [mapNode] },
  { type: 'delta', from: 3, version, nodes: [mapNode], removed: [2, 4_294_967_295] },
  { type: 'you', you },
  { type: 'you', you: waiting },
  { type: 'removed', network: 'n' },
  { type: 'addresses', addresses: [{ host: 'hub.example.com', port: 443, tls: true }] },
  { type: 'twin', address: '203.0.113.7' },
];

/** The message of the parse error. */
function complaint(parse: (value: unknown) => unknown, value: unknown): string {
  try {
    parse(value);
  } catch (error) {
    assert.ok(error instanceof LametunError && error.code === 'protocol', `${error}`);
    return error.message;
  }
  assert.fail(`${JSON.stringify(value).slice(0, 200)} was accepted`);
}

test('every kind of message is accepted unchanged', () => {
  for (const message of nodeMessages) assert.deepEqual(parseNodeMessage(message), message);
  for (const message of hubMessages) assert.deepEqual(parseHubMessage(message), message);
  for (const request of requests) assert.deepEqual(parse(adminRequest, request), request);
  const attached = { network, you, relay, addresses: [{ host: '203.0.113.5', port: 443, tls: false }] };
  assert.deepEqual(parseAnswer('check-invitation', { network }), { network });
  assert.deepEqual(parseAnswer('join', { network, you }), { network, you });
  assert.deepEqual(parseAnswer('attach', attached), attached);
  assert.deepEqual(parseAnswer('share', { shares: offered }), { shares: offered });
  assert.deepEqual(parseAnswer('leave', {}), {});
  assert.deepEqual(parseAnswer('who', { online: [1, 2] }), { online: [1, 2] });
  const invite = {
    token: 'lt1abc',
    invite: 'x',
    expiresAt: 5,
    maxUses: 1,
    addresses: ['203.0.113.5:443'],
    warnings: [],
  };
  assert.deepEqual(parseAdminAnswer('invite', invite), invite);
  const row = { ...mapNode, admin: true, pending: false, online: true, joinedAt: 1, offered };
  const { ipv4: _, ipv6: __, ...waitingRow } = { ...row, pending: true };
  for (const nodes of [[row], [waitingRow]])
    assert.deepEqual(parseAdminAnswer('nodes', { nodes }), { nodes });
  const inviteRow = {
    id: 'x',
    createdAt: 1,
    expiresAt: 2,
    reusable: true,
    uses: 1,
    maxUses: 100,
    admin: false,
    shares: [],
    state: 'open',
    usedBy: ['a'],
  };
  assert.deepEqual(parseAdminAnswer('invites', { invites: [inviteRow] }), { invites: [inviteRow] });
  assert.deepEqual(parseAdminAnswer('approve', { name: 'a', shares: offered }), {
    name: 'a',
    shares: offered,
  });
});

test('a member has two addresses, and a pending node has none', () => {
  for (const wrong of [
    { ...waiting, pending: false },
    { ...waiting, ipv4: '10.0.0.1' },
    { ...waiting, pending: false, ipv6: 'fd00::1' },
  ])
    assert.equal(
      complaint(parseHubMessage, { type: 'you', you: wrong }),
      'you must have two addresses, or be pending and have none',
    );
});

test('a message with a missing or an extra member is rejected', () => {
  const optional = new Set(['attach.have', 'admin.request']);
  for (const [parse, messages] of [
    [parseNodeMessage, nodeMessages],
    [parseHubMessage, hubMessages],
  ] as const) {
    for (const message of messages) {
      assert.match(complaint(parse, { ...message, extra: 1 }), /^extra is unknown/);
      for (const member of Object.keys(message)) {
        if (optional.has(`${message.type}.${member}`)) continue;
        const { [member]: _, ...rest } = message as unknown as Record<string, unknown>;
        const said = complaint(parse, rest);
        assert.match(
          said,
          member === 'type' ? /^type must be/ : new RegExp(`^${member} is missing`),
          JSON.stringify(rest),
        );
      }
    }
  }
});

test('errors name the field, but never the value', () => {
  const cases: readonly [unknown, string][] = [
    [{ type: 'check-invitation', id: 1, secret: 'hunter2' }, 'secret must be 16 bytes in base64'],
    [{ type: 'check-invitation', id: 1, secret: 12345 }, 'secret must be 16 bytes in base64'],
    [{ type: 'check-invitation', id: -1, secret }, 'id must be a whole number from 0 to 9007199254740991'],
    [{ type: 'join', id: 1, secret, name: 'My Laptop', shares: [] }, 'name must be a DNS label'],
    [{ type: 'join', id: 1, secret, name: 'a'.repeat(64), shares: [] }, 'name must be a DNS label'],
    [{ type: 'join', id: 1, secret, name: 'a-', shares: [] }, 'name must be a DNS label'],
    [{ type: 'share', id: 1, shares: ['10.0.0.1/24'] }, 'shares.0 must be a network such as'],
    [{ type: 'share', id: 1, shares: ['10.0.0.0/24', 'FD00::/8'] }, 'shares.1 must be a network such as'],
    [{ type: 'share', id: 1, shares: Array(65).fill('10.0.0.0/8') }, 'shares must have at most 64 entries'],
    [{ type: 'share', id: 1, shares: '10.0.0.0/8' }, 'shares must be a list'],
    [{ type: 'admin', id: 1, request: { op: 'invite' } }, 'request.expires is missing'],
    [{ type: 'admin', id: 1, request: { op: 'hunter2' } }, 'request.op must be ('],
    [
      { type: 'attach', id: 1, network: 'n', as, have: { epoch: 'hunter2!', revision: 1 } },
      'have.epoch must be 1 to 64 letters',
    ],
    [[], 'type must be ('],
    [null, 'the message must be an object'],
    ['hunter2', 'the message must be an object'],
  ];
  for (const [value, words] of cases) {
    const said = complaint(parseNodeMessage, value);
    assert.ok(said.startsWith(words), `${said} (${JSON.stringify(value).slice(0, 80)})`);
    assert.ok(!said.includes('hunter2') && !said.includes('12345'));
  }
});

test('invented member names are not repeated in errors', () => {
  const said = complaint(parseNodeMessage, { type: 'who', id: 1, '\u001b[2J': 1 });
  assert.equal(said, '? is unknown');
});

test('text for display cannot control a terminal', () => {
  for (const message of ['\u001b[31m', 'a\nb', '\u009b2J', '\u202e', 'x'.repeat(501)])
    complaint(parseHubMessage, { type: 'refused', re: 1, code: 'full', message });
});

test('keys, secrets and addresses have one form each', () => {
  const wrong: readonly Partial<Record<keyof typeof mapNode, unknown>>[] = [
    { key: key.slice(0, -1) },
    { key: key.replace('=', 'A') },
    { key: `${key.slice(0, 42)}B=` }, // nonzero padding bits
    { ipv4: '10.0.0.01' },
    { ipv4: 'fd00::1' },
    { ipv6: 'FD00::1' },
    { ipv6: 'fd00:0::1' },
    { ipv6: '::ffff:10.0.0.1' },
    { id: 0 },
    { id: 2 ** 32 },
    { id: 1.5 },
    { name: '' },
    { shares: [null] },
  ];
  for (const change of wrong)
    complaint(parseHubMessage, { type: 'map', version, nodes: [mapNode, { ...mapNode, ...change }] });
});

test('the fast check of a map’s nodes agrees with the schema', () => {
  const odd = fc.oneof(
    fc.constantFrom<unknown>(
      undefined,
      null,
      '',
      0,
      -1,
      1.5,
      2 ** 32,
      true,
      [],
      {},
      '10.0.0.1',
      'fd00::1',
      'fd00:0::1',
      ['10.0.0.0/8'],
      ['10.0.0.1/8'],
      Array(65).fill('10.0.0.0/8'),
      key,
      'A',
      'ab-c',
      'x-',
    ),
    fc.jsonValue(),
  );
  const member = fc.constantFrom('id', 'name', 'key', 'ipv4', 'ipv6', 'ipv4Only', 'shares', 'more');
  const node = fc.array(fc.tuple(member, odd), { maxLength: 2 }).map((changes) => {
    const made: Record<string, unknown> = { ...mapNode };
    for (const [name, value] of changes) {
      if (value === undefined) delete made[name];
      else made[name] = value;
    }
    return made;
  });
  let [good, bad] = [0, 0];
  fc.assert(
    fc.property(
      fc.oneof(
        { weight: 9, arbitrary: fc.array(node, { maxLength: 2 }) },
        { weight: 1, arbitrary: fc.jsonValue() },
      ),
      (nodes) => {
        const expected = v.safeParse(slowNodes, nodes).success;
        assert.equal(areMapNodes(nodes), expected, JSON.stringify(nodes));
        expected ? good++ : bad++;
      },
    ),
    { numRuns: 3000 },
  );
  assert.ok(good > 100 && bad > 100, `${good} ${bad}`);
});

test('any input is either a message or an error', () => {
  fc.assert(
    fc.property(
      fc.oneof(
        fc.jsonValue(),
        fc.record({ type: fc.constantFrom('check-invitation', 'map', 'delta', 'admin'), id: fc.nat() }),
      ),
      (value) => {
        complaint(parseNodeMessage, value);
        complaint(parseHubMessage, value);
        assert.equal(parseWelcome(value), undefined);
      },
    ),
  );
});

test('the handshake may have unknown fields, but known ones must be valid', () => {
  assert.deepEqual(parseHello({ protocol: [1, 2], program: 'x', more: 1 }), {
    protocol: [1, 2],
    program: 'x',
  });
  assert.deepEqual(parseWelcome({ protocol: 1, program: 'x', more: 1 }), { protocol: 1, program: 'x' });
  const refusal = { refused: 'no', protocol: [1], program: 'x' };
  assert.deepEqual(parseWelcome(refusal), refusal);
  for (const wrong of [undefined, null, 1, {}, { protocol: 1 }, { protocol: 'a', program: 'x' }]) {
    assert.equal(parseHello(wrong), undefined);
    assert.equal(parseWelcome(wrong), undefined);
  }
  assert.equal(parseWelcome({ refused: 5, protocol: 1, program: 'x' }), undefined);
});

import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { IMPLEMENTATIONS } from '../../src/crypto/chacha20-poly1305.js';
import { X25519_IMPLEMENTATIONS } from '../../src/crypto/x25519.js';
import { REMEMBERED_FOR } from '../../src/hub/membership/prune.js';
import { NEEDED, NEEDED_IN_HOMES } from '../../src/linux/process/capabilities.js';
import { FIRST_MESSAGE, MESSAGE_LIMIT } from '../../src/protocol/channel.js';
import { LIMIT } from '../../src/protocol/fields.js';
import { MAX_CALLED } from '../../src/protocol/probe.js';
import { MAX_HEAD } from '../../src/protocol/upgrade.js';
import { REPORTS, REPORTS_DATAGRAM } from '../../src/tunnel/messages.js';
import { WAITING_BYTES, WAITING_PER_PEER } from '../../src/tunnel/waiting.js';
import { ERASE_AFTER_TIME, INITIATION_INTERVAL, PADDING } from '../../src/wireguard/constants.js';
import { COOKIE_REPLY, INITIATION, RESPONSE } from '../../src/wireguard/messages.js';
import { INITIATIONS_PER_SECOND } from '../../src/wireguard/ratelimit.js';
import { available } from '../kit/implementations.js';

const page = readFileSync('docs/SECURITY.md', 'utf8').replaceAll(/\s+/g, ' ');

/** Source files of the product, by name. */
const sources = new Map(
  readdirSync('src', { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.ts') && !file.endsWith('.test.ts'))
    .map((file) => [file, readFileSync(join('src', file), 'utf8')]),
);

/** A sentence of the page, and the code that makes it true: a pattern in exactly one file of a room. */
type Fact = readonly [sentence: string, room: string, code: RegExp];

/** Numbers that their modules do not export. */
const FACTS: readonly Fact[] = [
  ['each has 10 s to prove a key.', 'hub', /const PATIENCE = 10_000;/],
  ['10 s to prove a key. If there are more than 8192, the oldest', 'hub', /const STRANGERS = 8_192;/],
  ['he may stay for two minutes,', 'hub', /const GUEST_PATIENCE = 120_000;/],
  ['and if there are more than 8192 such connections,', 'hub', /const GUESTS = 8_192;/],
  ['he may send 100 at once and then 10 per second', 'hub', /guest: \{.* rate: 10, burst: 100,/],
  ['200 at once and then 5 per second for one address', 'hub', /each: \{ rate: 5, burst: 200 \}/],
  ['to 500 and 50 for all addresses together', 'hub', /all: \{ rate: 50, burst: 500 \}/],
  ['1000 handshakes of one address at once, and then 50', 'hub', /HANDSHAKES = \{ rate: 50, burst: 1_000 \}/],
  ["uses up that member's rate at the relay**, 1 Gbit/s", 'hub', /const MEMBER_RATE = 1e9;/],
  ['a node reads 5000 per second', 'node', /OPENED = \{ rate: 5_000,/],
  ['recognises the last 64 probes of a peer', 'protocol', /constructor\(limit = 64\)/],
  ['A reusable one works for 100 machines', 'hub', /const REUSABLE_USES = 100;/],
  ['at most 100 of one token, and 1000 in all', 'hub', /WAITING = \{ byInvite: 100, inAll: 1_000 \}/],
  ['wider than /8 (IPv6: /16)', 'node', /WIDEST_SHARE = \{ ipv4: 8, ipv6: 16 \}/],
  ['60 requests at once and then 10 per second', 'hub', /REQUESTS = \{ burst: 60, rate: 10 \}/],
  ['in turns of 64 frames', 'hub', /const TURN = 64;/],
  ['at most 12 000 per second for each member', 'hub', /member: \{.* rate: 12_000,/],
];

const KIB = 1024;

test('the numbers about lametund match the code', () => {
  assert.ok(COOKIE_REPLY.length < Math.min(INITIATION.length, RESPONSE.length));
  for (const sentence of [
    `a multiple of ${PADDING} bytes`,
    `a ring of ${REPORTS} places`,
    `A flood fills at most ${REPORTS_DATAGRAM} places`,
    `${INITIATIONS_PER_SECOND} per second for each IPv4 address or IPv6 /64`,
    `more than ${1000 / INITIATION_INTERVAL} handshakes per second`,
    `at most ${WAITING_PER_PEER} packets for a peer wait, and ${WAITING_BYTES / KIB / KIB} MiB for all peers`,
    `${ERASE_AFTER_TIME / 1000} s after the last handshake`,
  ])
    assert.ok(page.includes(sentence), sentence);
});

test('the numbers about networks match the code', () => {
  for (const [sentence, room, code] of FACTS) {
    assert.ok(page.includes(sentence), sentence);
    const holding = [...sources].filter(([file, text]) => file.startsWith(`${room}/`) && code.test(text));
    assert.equal(holding.length, 1, `${sentence}: ${code}`);
  }
  assert.equal(MAX_CALLED, 8);
  assert.equal(LIMIT.nodes, 65_536);
  for (const sentence of [
    `${MAX_HEAD / KIB} KiB of a request's head or ${(FIRST_MESSAGE / KIB).toFixed(1)} KiB of one message`,
    `His messages are at most ${MESSAGE_LIMIT.fromGuest / KIB} KiB long`,
    `of ${MESSAGE_LIMIT.fromNode / KIB} KiB each`,
    `even after the hub forgot it (${REMEMBERED_FOR / 86_400_000} days)`,
    'a map may have 65 536 members',
    'to at most eight addresses',
  ])
    assert.ok(page.includes(sentence), sentence);
});

test('the page lists the capabilities that processes keep', () => {
  const named = [...page.matchAll(/\| (CAP_[A-Z_]+) \|/g)].map(([, name]) => name);
  assert.deepEqual(
    named,
    [...NEEDED, NEEDED_IN_HOMES].map((name) => `CAP_${name}`),
  );
});

test('the page lists the packages of package.json, which have fixed versions', () => {
  const { dependencies, optionalDependencies } = JSON.parse(readFileSync('package.json', 'utf8')) as {
    readonly dependencies: Readonly<Record<string, string>>;
    /** One for each processor. */
    readonly optionalDependencies: Readonly<Record<string, string>>;
  };
  const versions = { ...dependencies, ...optionalDependencies };
  for (const version of Object.values(versions)) assert.match(version, /^\d+\.\d+\.\d+$/);
  const WORDS = ['seven', 'eight', 'nine', 'ten', 'eleven', 'twelve', 'thirteen'];
  const count = Object.keys(dependencies).length + 1;
  assert.ok(page.includes(`There are ${WORDS[count - 7]} npm packages at run time`));
  const [table = ''] = /\| package \| for \|.*?`ws` \|/.exec(page) ?? [];
  assert.deepEqual(
    [...table.matchAll(/`([^`]+)`/g)].map(([, name]) => name).sort(),
    Object.keys(versions).sort(),
  );
});

/** The families of the implementations, in the order in which they are tried. */
const familiesOf = (makers: readonly (() => { readonly name: string })[]): readonly string[] => [
  ...new Set(available(makers).map(({ name }) => name.replace(/ \(.*/, ''))),
];

test('the table of algorithms lists the implementations in the order in which they are tried', () => {
  const order = (row: string): readonly string[] => {
    const [, cells = ''] = new RegExp(`\\| ${row} \\| (.*?) \\| [XCc]`).exec(page) ?? [];
    return [...cells.matchAll(/ChaCha20_ctr32|EVP|node:crypto/g)].map(([name]) => name);
  };
  const known: Readonly<Record<string, string>> = {
    ...{ 'OpenSSL primitives': 'ChaCha20_ctr32', 'OpenSSL EVP': 'EVP', 'node:crypto': 'node:crypto' },
  };
  const expected = (makers: readonly (() => { readonly name: string })[]): readonly string[] =>
    familiesOf(makers).map((name) => known[name]!);
  for (const [row, makers, count] of [
    ['X25519', X25519_IMPLEMENTATIONS, 2],
    ['ChaCha20-Poly1305', IMPLEMENTATIONS, 3],
  ] as const) {
    const [listed, usable] = [order(row), expected(makers)];
    assert.equal(listed.length, count);
    assert.equal(usable.at(-1), 'node:crypto');
    assert.deepEqual(
      listed.filter((name) => usable.includes(name)), // this Node.js may lack some
      usable,
    );
  }
});

test('only the two rooms that the page names call C, and noble is used only for XChaCha20-Poly1305', () => {
  const importing = (start: string): readonly string[] =>
    [...sources].filter(([, text]) => text.includes(`from '${start}`)).map(([file]) => file);
  const callers = [...sources].filter(([, text]) => /from '.*\/koffi\.js'/.test(text));
  const rooms = new Set(callers.map(([file]) => file.split('/')[0]!));
  assert.deepEqual([...rooms].sort(), ['crypto', 'linux']);
  assert.match(page, /Only two rooms call C: `src\/linux\/` and `src\/crypto\/`/);
  const noble = importing('@noble/');
  assert.deepEqual(noble, ['crypto/node-crypto.ts']);
  assert.match(sources.get(noble[0]!)!, /import \{ xchacha20poly1305 \} from '@noble\/ciphers\/chacha\.js'/);
  const users = [...sources].filter(([, text]) => /\.x(seal|open)\(/.test(text)).map(([file]) => file);
  assert.deepEqual(users.sort(), ['protocol/probe.ts', 'wireguard/cookie.ts']);
  assert.match(page, /XChaCha20-Poly1305\*\* \(`@noble\/ciphers`\), for cookies and for probes/);
});

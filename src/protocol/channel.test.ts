import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { FakeCrypto } from '../../tests/kit/fake-crypto.js';
import { SeededRandom } from '../../tests/kit/random.js';
import type { Crypto, PrivateKey } from '../wireguard/crypto.js';
import { ChannelInitiator, ChannelResponder, MESSAGE_LIMIT, type ResponderEvent } from './channel.js';
import type { Hello, Welcome } from './messages.js';
import { welcome } from './versions.js';

const crypto = new FakeCrypto(new SeededRandom(3));
const hello: Hello = { protocol: [1], program: 'node 1' };

interface Pair {
  readonly node: ChannelInitiator;
  readonly hub: ChannelResponder;
  readonly nodeKey: PrivateKey;
}
function pair(
  options: { hello?: Hello; answer?: (hello: Hello) => Welcome; hubKey?: PrivateKey; crypto?: Crypto } = {},
): Pair {
  const [hubKey, nodeKey] = [crypto.generate(), crypto.generate()];
  const used = options.crypto ?? crypto;
  const expected = (options.hubKey ?? hubKey).publicKey;
  const node = new ChannelInitiator(used, nodeKey, expected, options.hello ?? hello);
  const hub = new ChannelResponder(
    used,
    hubKey,
    (_, said) => options.answer?.(said) ?? welcome(said, 'hub 1'),
  );
  return { node, hub, nodeKey };
}

function opened(): Pair {
  const both = pair();
  const [send] = both.hub.handle(both.node.first());
  assert.ok(send?.kind === 'send');
  assert.deepEqual(both.node.handle(send.bytes), [
    { kind: 'open', welcome: { protocol: 1, program: 'hub 1' } },
  ]);
  return both;
}
/** A pair after both have sent a message. */
function proven(): Pair {
  const both = opened();
  const events = both.node.seal({ hi: 1 }).flatMap((bytes) => both.hub.handle(bytes));
  assert.deepEqual(
    events.map(({ kind }) => kind),
    ['open', 'message'],
  );
  both.hub.admit();
  return both;
}
const why = (events: readonly { kind: string; why?: string }[]): (string | undefined)[] =>
  events.map((event) => event.why ?? event.kind);

test('the hub trusts a node only after its second message, because the first may be replayed', () => {
  const both = pair();
  const first = both.node.first();
  const again = first.slice();
  const [send] = both.hub.handle(first);
  assert.ok(send?.kind === 'send');
  both.node.handle(send.bytes);
  const events = both.node.seal({ type: 'who' }).flatMap((bytes) => both.hub.handle(bytes));
  assert.deepEqual(events, [
    { kind: 'open', remoteKey: both.nodeKey.publicKey.bytes, hello },
    { kind: 'message', value: { type: 'who' } },
  ]);

  // An eavesdropper replays everything to the same hub.
  const replayed = new ChannelResponder(crypto, crypto.generate(), () => assert.fail('not for this key'));
  assert.deepEqual(why(replayed.handle(again.slice())), ['key']);
});

test('a replayed conversation gets only the first answer', () => {
  const hubKey = crypto.generate();
  const hub = () => new ChannelResponder(crypto, hubKey, (_, said) => welcome(said, 'hub 1'));
  const node = new ChannelInitiator(crypto, crypto.generate(), hubKey.publicKey, hello);
  const recorded: Uint8Array[] = [node.first()];
  const real = hub();
  const [send] = real.handle(recorded[0]!.slice());
  assert.ok(send?.kind === 'send');
  node.handle(send.bytes);
  recorded.push(...node.seal({ type: 'leave' }));
  assert.deepEqual(why(real.handle(recorded[1]!.slice())), ['open', 'message']);
  const fooled = hub();
  const events = recorded.flatMap((bytes): ResponderEvent[] => fooled.handle(bytes.slice()));
  assert.deepEqual(why(events), ['send', 'garbled']);
});

test('messages of any length and frames arrive unchanged, in order, in both directions', () => {
  fc.assert(
    fc.property(
      fc.array(fc.oneof(fc.integer({ min: 0, max: 60_000 }), fc.constant('frame' as const)), {
        maxLength: 5,
      }),
      (plan) => {
        const { node, hub } = proven();
        for (const [from, to] of [
          [node, hub],
          [hub, node],
        ] as const) {
          for (const [i, length] of plan.entries()) {
            if (length === 'frame') {
              const datagram = Uint8Array.from({ length: 100 + i }, (_, k) => k);
              const [event] = to.handle(from.sealFrame(0xfffffff0 + i, datagram));
              assert.deepEqual(event, { kind: 'frame', peer: 0xfffffff0 + i, datagram });
            } else {
              const longest = from === node ? MESSAGE_LIMIT.fromNode - 100 : length;
              const value = { text: '\u00fc'.repeat(Math.min(length, longest) / 2), i };
              const events = from.seal(value).flatMap((bytes) => to.handle(bytes) as object[]);
              assert.deepEqual(events, [{ kind: 'message', value }]);
            }
          }
        }
      },
    ),
    { numRuns: 20 },
  );
});

test('a message longer than a Noise message is sent in parts', () => {
  const { node, hub } = proven();
  const value = { text: 'x'.repeat(300_000) };
  const parts = hub.seal(value);
  assert.equal(parts.length, 5);
  for (const part of parts) assert.ok(part.length <= 65_535);
  assert.deepEqual(
    parts.flatMap((bytes) => node.handle(bytes)),
    [{ kind: 'message', value }],
  );
});

test('a node cannot make the hub keep more than its limit', () => {
  for (const length of [MESSAGE_LIMIT.fromNode + 1, 10 * MESSAGE_LIMIT.fromNode]) {
    const { node, hub } = proven();
    const events = node.seal({ text: 'x'.repeat(length) }).flatMap((bytes) => hub.handle(bytes));
    assert.deepEqual(why(events), ['protocol']);
    assert.ok(hub.ended);
  }
  const { node, hub } = proven();
  const json = new TextEncoder().encode(`"${'x'.repeat(MESSAGE_LIMIT.fromNode - 2)}"`);
  assert.deepEqual(why(node.sealJson(json).flatMap((bytes) => hub.handle(bytes))), ['message']);
  const guest = opened();
  assert.deepEqual(why(guest.node.sealJson(json).flatMap((bytes) => guest.hub.handle(bytes))), ['protocol']);
});

test('a changed, repeated, lost or reordered message ends the channel', () => {
  const broken: readonly ((sealed: Uint8Array[]) => Uint8Array[])[] = [
    ([a]) => [a!.map((byte, i) => (i === 3 ? byte ^ 1 : byte))],
    ([a]) => [a!.slice(0, -1)],
    ([a]) => [Uint8Array.of(...a!, 0)],
    ([a]) => [a!, a!.slice()],
    ([a, b]) => [b!, a!],
    ([, b]) => [b!],
    () => [new Uint8Array()],
    () => [new Uint8Array(16)],
    () => [new Uint8Array(70_000)],
  ];
  for (const change of broken) {
    const { node, hub } = proven();
    const sealed = [1, 2].flatMap((n) => node.seal({ n })).map((bytes) => bytes.slice());
    const copies = change(sealed).map((bytes) => bytes.slice());
    const events = copies.flatMap((bytes) => hub.handle(bytes));
    assert.equal(why(events).at(-1), 'garbled', `${change}`);
    assert.deepEqual(hub.handle(node.seal({ n: 3 })[0]!), [], 'the channel stays closed');
    assert.throws(() => hub.seal({}), /not open/);
  }
});

test('a message is not accepted in the other direction', () => {
  const { node } = proven();
  const [own] = node.seal({ n: 1 });
  assert.deepEqual(why(node.handle(own!)), ['garbled']);
});

test('authentic nonsense ends the channel too', () => {
  for (const plaintext of [
    [],
    [9, 1],
    [0],
    [0, 0x7b],
    [0, 0xff, 0xfe],
    [1],
    [2, 1, 2, 3],
    [2, ...new Uint8Array(9)],
  ]) {
    const { hub, node: liar } = rawPair();
    const room = new Uint8Array([...plaintext, ...new Uint8Array(16)]);
    liar(room);
    assert.equal(why(hub.handle(room)).at(-1), 'protocol', `${plaintext}`);
  }
});

/** A hub, and a function that seals any plaintext for it. */
function rawPair(): { hub: ChannelResponder; node: (room: Uint8Array) => void } {
  let next: ((room: Uint8Array) => void) | undefined;
  // The crypto object sees the key of every message. With it and the next counter, the test can seal anything.
  const spy: Crypto = Object.create(crypto, {
    seal: {
      value: (key: Uint8Array, counter: number, plaintext: Uint8Array, data: Uint8Array, out: Uint8Array) => {
        const copy = key.slice();
        next = (room) => crypto.seal(copy, counter + 1, room.subarray(0, room.length - 16), data, room);
        crypto.seal(key, counter, plaintext, data, out);
      },
    },
  });
  for (const method of [
    'publicKey',
    'privateKey',
    'generate',
    'dh',
    'hash',
    'mac',
    'kdf',
    'open',
    'random',
    'equal',
  ] as const)
    Object.defineProperty(spy, method, {
      value: (crypto[method] as (...args: never[]) => unknown).bind(crypto),
    });
  const both = pair({ crypto: spy });
  const [send] = both.hub.handle(both.node.first());
  assert.ok(send?.kind === 'send');
  both.node.handle(send.bytes);
  assert.deepEqual(why(both.node.seal({}).flatMap((bytes) => both.hub.handle(bytes))), ['open', 'message']);
  return { hub: both.hub, node: next! };
}

test('an unfinished message is discarded when the channel closes', () => {
  const { node, hub } = proven();
  const parts = hub.seal({ text: 'x'.repeat(200_000) });
  for (const part of parts.slice(0, -1)) assert.deepEqual(node.handle(part), []);
  node.close();
  assert.deepEqual(node.handle(parts.at(-1)!), []);
});

test('a hub with another key cannot read the first message, and a false answer is detected', () => {
  const impostor = pair({ hubKey: crypto.generate() });
  assert.deepEqual(why(impostor.hub.handle(impostor.node.first())), ['key']);
  const waiting = pair();
  waiting.node.first();
  assert.deepEqual(why(waiting.node.handle(new Uint8Array(60).fill(4))), ['key']);
  assert.ok(waiting.node.ended);
});

test('garbage from a stranger costs at most one Diffie-Hellman, and none if its length is wrong', () => {
  let dhs = 0;
  const counting: Crypto = Object.create(crypto);
  for (const method of ['publicKey', 'generate', 'hash', 'kdf', 'open', 'seal'] as const)
    Object.defineProperty(counting, method, {
      value: (crypto[method] as (...args: never[]) => unknown).bind(crypto),
    });
  Object.defineProperty(counting, 'dh', {
    value: (...args: Parameters<Crypto['dh']>) => {
      dhs++;
      return crypto.dh(...args);
    },
  });
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 2000 }), (garbage) => {
      dhs = 0;
      const hub = new ChannelResponder(counting, crypto.generate(), () => assert.fail('no node connects'));
      assert.deepEqual(why(hub.handle(garbage.slice())), ['key']);
      const mayBeOne = garbage.length >= 96 && garbage.length <= 96 + 1024;
      assert.ok(dhs <= (mayBeOne ? 1 : 0), `${dhs}`);
      assert.deepEqual(hub.handle(garbage), []);
    }),
  );
});

test('without a common version, both are shown, and which side to update', () => {
  const old = pair({ hello, answer: (said) => welcome(said, 'hub 2', [2, 3]) });
  const [send, failed] = old.hub.handle(old.node.first());
  assert.ok(send?.kind === 'send' && failed?.kind === 'failed' && failed.why === 'version');
  const [told] = old.node.handle(send.bytes);
  assert.deepEqual(told, {
    kind: 'failed',
    why: 'version',
    text: 'this machine has node 1 (protocol 1), the hub has hub 2 (protocol 2, 3): update lametun on this machine',
  });
  const young = pair({
    hello: { protocol: [4], program: 'node 4' },
    answer: (said) => welcome(said, 'hub 2', [2, 3]),
  });
  const [answer] = young.hub.handle(young.node.first());
  assert.ok(answer?.kind === 'send');
  const [said] = young.node.handle(answer.bytes);
  assert.ok(said?.kind === 'failed');
  assert.match(said.text, /update lametun on the hub's machine$/);
});

test('the newest common version is used, and never one that was not offered', () => {
  const both = pair({
    hello: { protocol: [1, 2, 5], program: 'n' },
    answer: (said) => welcome(said, 'h', [2, 1, 3]),
  });
  const [send] = both.hub.handle(both.node.first());
  assert.ok(send?.kind === 'send');
  assert.deepEqual(both.node.handle(send.bytes), [{ kind: 'open', welcome: { protocol: 2, program: 'h' } }]);
  const liar = pair({ answer: () => ({ protocol: 9, program: 'h' }) });
  const [lie] = liar.hub.handle(liar.node.first());
  assert.ok(lie?.kind === 'send');
  assert.deepEqual(why(liar.node.handle(lie.bytes)), ['version']);
});

test('any other refusal is shown in the hub’s words', () => {
  const both = pair({ answer: () => ({ refused: 'closed today', protocol: [1], program: 'h' }) });
  const [send] = both.hub.handle(both.node.first());
  assert.ok(send?.kind === 'send');
  assert.deepEqual(both.node.handle(send.bytes), [{ kind: 'failed', why: 'refused', text: 'closed today' }]);
});

test('a malformed hello, or one with control characters, is refused', () => {
  for (const wrong of [
    { protocol: 1 },
    { protocol: [1], program: '\u001b[2J' },
    { protocol: [], program: 'x'.repeat(65) },
    [],
  ]) {
    const both = pair({ hello: wrong as unknown as Hello });
    assert.deepEqual(why(both.hub.handle(both.node.first())), ['protocol'], JSON.stringify(wrong));
  }
  const more = pair({ hello: { ...hello, future: true } as Hello });
  assert.deepEqual(why(more.hub.handle(more.node.first())), ['send'], 'a newer node may send unknown fields');
});

test('keys are erased when a channel is closed, and the static key is left alone', () => {
  const { node, hub, nodeKey } = proven();
  node.close();
  hub.close();
  for (const side of [node, hub]) {
    assert.throws(() => side.seal({}), /not open/);
    assert.throws(() => side.sealFrame(1, Uint8Array.of(1)), /not open/);
    assert.deepEqual(side.handle(new Uint8Array(40)), []);
  }
  assert.ok(new ChannelInitiator(crypto, nodeKey, crypto.generate().publicKey, hello).first().length > 96);
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { FakeCrypto } from '../../../../tests/kit/fake-crypto.js';
import { SeededRandom } from '../../../../tests/kit/random.js';
import { attachedAnswer, mapNode, member, NETWORK } from '../../../../tests/kit/small-hub.js';
import { ChannelResponder } from '../../../protocol/channel.js';
import { NetworkMap } from '../../../protocol/map.js';
import { type HubMessage, type NodeMessage, REFUSALS } from '../../../protocol/messages.js';
import { parseNodeMessage } from '../../../protocol/parse.js';
import { welcome } from '../../../protocol/versions.js';
import type { HubFailure } from './hub-failure.js';
import { HubSession, type JoinRequest, SESSION, type SessionOutput } from './hub-session.js';

const crypto = new FakeCrypto(new SeededRandom(5));

/** A session, a hub, and a clock that the test advances. */
class Scene {
  now = 0;
  readonly map = new NetworkMap();
  readonly told: SessionOutput[] = [];
  readonly asked: NodeMessage[] = [];
  pings = 0;
  readonly hub: ChannelResponder;
  readonly session: HubSession;

  constructor(join?: JoinRequest) {
    const hubKey = crypto.generate();
    this.hub = new ChannelResponder(crypto, hubKey, (_, hello) => welcome(hello, 'hub 1'));
    this.session = new HubSession({
      crypto,
      privateKey: crypto.generate(),
      hubKey: hubKey.publicKey.bytes,
      program: 'node 1',
      map: this.map,
      as: { run: 'r1', turn: 1 },
      member: join === undefined ? { network: NETWORK.id } : { join },
    });
  }

  /** Acts on the session, and carries out its outputs. */
  act(act: (session: HubSession) => void): void {
    act(this.session);
    for (let output = this.session.poll(); output; output = this.session.poll()) {
      if (output.kind === 'ping') this.pings++;
      else if (output.kind !== 'send') this.told.push(output);
      else {
        for (const event of this.hub.handle(output.bytes.slice())) {
          if (event.kind === 'send') this.act((session) => session.handle(event.bytes, this.now));
          else if (event.kind === 'message') this.asked.push(parseNodeMessage(event.value));
        }
      }
    }
  }

  say(message: HubMessage): void {
    for (const bytes of this.hub.seal(message)) this.act((session) => session.handle(bytes, this.now));
  }

  answer(value: unknown): void {
    this.say({ type: 'answer', re: this.asked.at(-1)!.id, value });
  }

  /** Lets time pass, and handles each timeout. */
  pass(milliseconds: number): void {
    const end = this.now + milliseconds;
    for (let next = this.session.nextTimeout(); next <= end; next = this.session.nextTimeout()) {
      assert.ok(next >= this.now, 'it does not want to be called for ever');
      this.now = next;
      this.act((session) => session.handleTimeout(next));
    }
    this.now = end;
  }

  /** The kinds of the outputs since the last call. */
  kinds(): string[] {
    return this.told.splice(0).map((output) => (output.kind === 'ended' ? output.failure.kind : output.kind));
  }

  attach(): this {
    this.act((session) => session.start(this.now));
    this.act((session) => session.begin(this.now));
    this.answer(attachedAnswer(1));
    assert.deepEqual(this.kinds(), ['open', 'attached']);
    return this;
  }
}

const wish: JoinRequest = { secret: new Uint8Array(16), name: 'laptop', shares: ['10.9.0.0/16'] };
/** Takes the answer to a request. */
function box() {
  const got: { answer?: unknown; failure?: HubFailure } = {};
  return {
    got,
    resolve: (answer: unknown) => void Object.assign(got, { answer }),
    reject: (failure: HubFailure) => void Object.assign(got, { failure }),
  };
}

test('nothing is requested before the caller has chosen the connection', () => {
  const scene = new Scene();
  scene.act((session) => session.start(0));
  assert.deepEqual([scene.kinds(), scene.asked], [['open'], []]);
  scene.act((session) => session.begin(0));
  const as = { run: 'r1', turn: 1 };
  assert.deepEqual(scene.asked, [{ type: 'attach', id: 1, network: NETWORK.id, as }]);
});

test('joining takes three requests, and waits for the caller after the first', () => {
  const scene = new Scene(wish);
  scene.act((session) => session.start(0));
  scene.act((session) => session.begin(0));
  scene.answer({ network: NETWORK });
  assert.deepEqual(scene.kinds(), ['open', 'invitation']);
  scene.pass(5000);
  assert.deepEqual(
    scene.asked.map(({ type }) => type),
    ['check-invitation'],
  );
  scene.act((session) => session.proceed(scene.now));
  scene.answer({ network: NETWORK, you: member(3) });
  scene.answer(attachedAnswer(3));
  assert.deepEqual(scene.kinds(), ['joined', 'attached']);
  assert.deepEqual(
    scene.asked.map(({ type }) => type),
    ['check-invitation', 'join', 'attach'],
  );
});

test('a hub that does not answer the first message is abandoned', () => {
  const scene = new Scene();
  scene.session.start(0); // lost
  scene.pass(SESSION.channel - 1);
  assert.deepEqual(scene.kinds(), []);
  scene.pass(1);
  assert.deepEqual(scene.kinds(), ['unreachable']);
  assert.equal(scene.session.nextTimeout(), Infinity);
});

test('a hub that does not answer `attach` is abandoned', () => {
  const scene = new Scene();
  scene.act((session) => session.start(0));
  scene.act((session) => session.begin(0));
  for (let passed = 0; passed < SESSION.answer; passed += SESSION.answer / 3) {
    assert.deepEqual(scene.kinds(), passed === 0 ? ['open'] : []);
    scene.pass(SESSION.answer / 3);
    scene.session.handlePong();
  }
  assert.deepEqual(scene.kinds(), ['unreachable']);
});

test('a request without an answer fails alone at its deadline, and a late answer is ignored', () => {
  const scene = new Scene().attach();
  const who = box();
  scene.act((session) => session.request({ type: 'who' }, scene.now, who.resolve, who.reject));
  for (let i = 0; i < 4; i++) {
    scene.pass(SESSION.answer / 4 - 1);
    scene.session.handlePong();
  }
  assert.deepEqual(who.got, {});
  scene.pass(4);
  assert.equal(who.got.failure?.kind, 'unreachable');
  scene.answer({ online: [] });
  assert.deepEqual([scene.kinds(), who.got.answer], [[], undefined]);
});

test('the session pings every 15 s, and ends 15 s after an unanswered ping', () => {
  const scene = new Scene().attach();
  for (let i = 1; i <= 10; i++) {
    scene.pass(SESSION.pingInterval);
    assert.equal(scene.pings, i);
    scene.session.handlePong();
  }
  scene.pass(SESSION.pingInterval + SESSION.pong - 1);
  assert.deepEqual([scene.kinds(), scene.pings], [[], 11]);
  scene.pass(1);
  assert.deepEqual(scene.kinds(), ['lost']);
});

test('a connection that may be dead is pinged at once, and has 1.5 s to answer', () => {
  const scene = new Scene().attach();
  scene.pass(4_000);
  scene.act((session) => session.probe(scene.now));
  scene.act((session) => session.probe(scene.now)); // which is the same question
  assert.equal(scene.pings, 1);
  scene.pass(SESSION.probe - 1);
  scene.session.handlePong();
  scene.pass(SESSION.pingInterval - SESSION.probe);
  assert.deepEqual([scene.kinds(), scene.pings], [[], 1]);

  scene.pass(1); // an ordinary ping is under way
  scene.act((session) => session.probe(scene.now));
  scene.pass(SESSION.probe - 1);
  assert.deepEqual(scene.kinds(), []);
  scene.pass(1);
  assert.deepEqual([scene.kinds(), scene.pings], [['lost'], 3]);
  scene.act((session) => session.probe(scene.now));
  assert.deepEqual([scene.kinds(), scene.pings], [[], 3]);
});

test('after an hour of suspension, the session ends only if the hub stays silent', () => {
  const scene = new Scene().attach();
  scene.pass(SESSION.pingInterval);
  scene.now += 3_600_000;
  scene.act((session) => session.handleTimeout(scene.now));
  assert.deepEqual(scene.kinds(), []);
  scene.pass(SESSION.pong);
  assert.deepEqual(scene.kinds(), ['lost']);
});

test('any message shows that the hub is alive', () => {
  const scene = new Scene().attach();
  scene.pass(SESSION.pingInterval);
  scene.say({ type: 'you', you: member(1) });
  scene.pass(SESSION.pong);
  assert.deepEqual(scene.kinds(), ['you']);
});

test('pending requests fail when the connection ends, and later ones fail at once', () => {
  const scene = new Scene().attach();
  const [a, b, late] = [box(), box(), box()];
  const admin = { type: 'admin', request: { op: 'nodes' } } as const;
  scene.act((session) => session.request({ type: 'who' }, 0, a.resolve, a.reject));
  scene.act((session) => session.request(admin, 0, b.resolve, b.reject));
  scene.say({ type: 'removed', network: NETWORK.id });
  assert.deepEqual(scene.kinds(), ['removed']);
  assert.deepEqual([a.got.failure?.kind, b.got.failure?.kind], ['removed', 'removed']);
  scene.act((session) => session.request({ type: 'who' }, 0, late.resolve, late.reject));
  assert.equal(late.got.failure?.kind, 'unreachable');
  scene.act((session) => session.handle(new Uint8Array(40), 0));
  assert.deepEqual([scene.kinds(), scene.asked.length], [[], 3]);
  assert.equal(scene.session.sealFrame(1, new Uint8Array(4)), undefined);
});

test('an answer to an unknown request is ignored, and a malformed answer ends the session', () => {
  const scene = new Scene().attach();
  scene.say({ type: 'answer', re: 999, value: {} });
  scene.say({ type: 'refused', re: 999, code: 'full', message: 'no' });
  assert.deepEqual(scene.kinds(), []);
  const who = box();
  scene.act((session) => session.request({ type: 'who' }, 0, who.resolve, who.reject));
  scene.answer({ online: ['all'] });
  assert.deepEqual([scene.kinds(), who.got.failure?.kind], [['protocol'], 'protocol']);
});

test('the number of pending requests is limited', () => {
  const scene = new Scene().attach();
  const boxes = Array.from({ length: 300 }, box);
  for (const { resolve, reject } of boxes)
    scene.act((session) => session.request({ type: 'who' }, 0, resolve, reject));
  assert.equal(boxes.filter(({ got }) => got.failure?.refusal === 'too-many').length, 300 - 256);
  assert.deepEqual(scene.kinds(), []);
});

test('the whole map is requested once, however many deltas do not fit', () => {
  const scene = new Scene().attach();
  const delta = (from: number): HubMessage => ({
    type: 'delta',
    from,
    version: { epoch: 'e', revision: from + 1 },
    nodes: [],
    removed: [],
  });
  scene.say(delta(1));
  scene.say(delta(2));
  assert.deepEqual(
    scene.asked.map(({ type }) => type),
    ['attach', 'attach'],
  );
  scene.answer(attachedAnswer(1));
  scene.say({ type: 'map', version: { epoch: 'e', revision: 3 }, nodes: [mapNode(1)] });
  assert.deepEqual(scene.kinds(), ['attached', 'map']);
  scene.say(delta(3));
  assert.deepEqual([scene.kinds(), scene.map.version], [['map'], { epoch: 'e', revision: 4 }]);
  // A second misfit so soon ends the session.
  scene.say(delta(9));
  assert.deepEqual(scene.kinds(), ['protocol']);
});

test('frames that arrive before the node is attached are ignored', () => {
  const scene = new Scene();
  scene.act((session) => session.start(0));
  assert.equal(scene.session.sealFrame(1, new Uint8Array(4)), undefined);
  scene.act((session) => session.begin(0));
  const frame = () => scene.hub.sealFrame(2, Uint8Array.of(1));
  scene.act((session) => session.handle(frame(), 0));
  assert.deepEqual(scene.kinds(), ['open']);
  scene.answer(attachedAnswer(1));
  scene.act((session) => session.handle(frame(), 0));
  assert.deepEqual(scene.kinds(), ['attached', 'frame']);
});

/** What a hub with the right key may send, true or not. */
const words = fc.oneof(
  fc.constantFrom<HubMessage>(
    { type: 'removed', network: 'n2' },
    { type: 'addresses', addresses: [{ host: '192.0.2.1', port: 1, tls: false }] },
    { type: 'twin', address: '192.0.2.1' },
    { type: 'you', you: { ...member(1), name: 'other' } },
    { type: 'map', version: { epoch: 'e', revision: 1 }, nodes: [] },
    { type: 'answer', re: 1, value: attachedAnswer(1) },
    { type: 'answer', re: 1, value: { ...attachedAnswer(1), network: { ...NETWORK, id: 'n2' } } },
    { type: 'answer', re: 1, value: 'nonsense' },
  ),
  fc.constantFrom(...REFUSALS).map((code): HubMessage => ({ type: 'refused', re: 1, code, message: code })),
);

test('only `removed` for its own network makes a member believe that it was removed', () => {
  const removed: HubMessage = { type: 'removed', network: NETWORK.id };
  fc.assert(
    fc.property(fc.array(words, { maxLength: 12 }), fc.boolean(), (said, really) => {
      const scene = new Scene();
      scene.act((session) => session.start(0));
      scene.act((session) => session.begin(0));
      for (const message of said) scene.say(message);
      const before = scene.kinds();
      assert.ok(!before.includes('removed'));
      if (!really) return;
      scene.say(removed);
      const hasEnded = before.some((kind) => ENDS.has(kind));
      assert.deepEqual(scene.kinds(), hasEnded ? [] : ['removed'], 'the control');
    }),
  );
});

const ENDS: ReadonlySet<string> = new Set(['other-network', 'refused', 'protocol']);

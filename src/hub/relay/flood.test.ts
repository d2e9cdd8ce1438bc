import assert from 'node:assert/strict';
import { test } from 'node:test';
import { frameTo, RelayMember, relayable } from '../../../tests/kit/relay-member.js';
import { until } from '../../../tests/kit/wait.js';
import { Relay } from './relay.js';

const FLOODER = 1;
const SINK = 2;
const ONE = 3;
const OTHER = 4;
/** Has no UDP. */
const CHANNEL = 5;

const PINGS = 400;
/** Pings are sent in bursts, with at least so many frames of the flood from one to the next. */
const BURST = 10;
const BETWEEN = 1_000;
/**
 * On a busy machine the relay's thread may be delayed, and pings are lost in a full queue, so one good round of several is
 * enough.
 */
const ROUNDS = 4;

for (const [name, target, perRun] of [
  ['single frames to a member', SINK, 1],
  ['runs of frames to a member', SINK, 40],
  ['frames to a member that uses its channel', CHANNEL, 1],
  ['frames to an unknown member', 77, 40],
] as const) {
  test(`a flood of ${name} costs other members almost nothing, and no memory`, async (t) => {
    let handedOut = 0;
    const relay = await Relay.start({
      port: 0,
      memberRate: 1e12, // so that the rate limit does not help
      onFrame: () => void handedOut++,
      onFailed: (error) => {
        throw error;
      },
    });
    t.after(() => relay.close());
    relay.attach(CHANNEL);
    const member = async (id: number): Promise<RelayMember> => {
      const one = new RelayMember(relay.port);
      t.after(() => one.close());
      await one.bind(relay.attach(id));
      return one;
    };
    const [flooder, sink, one, other] = [
      await member(FLOODER),
      await member(SINK),
      await member(ONE),
      await member(OTHER),
    ];
    const flood = flooder.flood(frameTo(target, relayable(1000)), { perRun, perMillisecond: 2000 });
    await until('the flood to start', () => flood.sent() > 50_000);
    const memory = process.memoryUsage.rss();
    let received = 0;
    for (let round = 0; round < ROUNDS && received < PINGS * 0.9; round++) {
      received = 0;
      other.discard(); // late frames
      for (let i = 0; i < PINGS; i += BURST) {
        for (let j = 0; j < BURST; j++) one.send(frameTo(OTHER, relayable(64, (i + j) & 0xff)));
        const flooded = flood.sent();
        await until('the flood to continue', () => flood.sent() >= flooded + BETWEEN);
        received += other.discard();
        sink.discard();
      }
      received += (await other.receive(PINGS - received, 300)).length;
    }
    const grown = process.memoryUsage.rss() - memory;
    const sent = await flood.stop();
    const { dropped, out } = relay.counters();
    t.diagnostic(
      `${sent} sent, ${received} of ${PINGS} pings, ${out.udp.frames} out, ${handedOut} to the channel, ` +
        `${Math.round(grown / 2 ** 20)} MB, ${JSON.stringify(dropped)}`,
    );
    assert.ok(received >= PINGS * 0.9, `${received} of ${PINGS} arrived`);
    // Otherwise luck decides whose datagrams find room in the full queue.
    if (target === SINK && dropped.overflow !== undefined)
      assert.ok(dropped['over-share'] !== undefined, 'the flooder is limited when the queue is full');
    assert.ok(grown < 64 << 20, `${grown} bytes of growth`);
  });
}

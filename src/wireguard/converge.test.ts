import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FakeCrypto } from '../../tests/kit/fake-crypto.js';
import { SeededRandom } from '../../tests/kit/random.js';
import { payloadOf, VirtualNetwork, VirtualNode } from '../../tests/kit/virtual-network.js';

// Uses the cheap fake cryptography, because the subject is the order of events. `vectors.test.ts` uses the real one.
const RUNS = 1000;

test(`two nodes over bad links always converge, ${RUNS} seeded runs`, () => {
  for (let seed = 1; seed <= RUNS; seed++) {
    const random = new SeededRandom(seed);
    const crypto = new FakeCrypto(random);
    const loss = random.fraction() * 0.5;
    const duplication = random.fraction() * 0.3;
    const maxDelay = 1 + random.below(random.chance(0.2) ? 3000 : 200);
    const network = new VirtualNetwork(() => {
      if (random.chance(loss)) return [];
      const delays = [random.fraction() * maxDelay];
      if (random.chance(duplication)) delays.push(random.fraction() * maxDelay * 3);
      return delays;
    });
    const a = new VirtualNode(network, crypto, 1);
    const b = new VirtualNode(network, crypto, 2);
    a.addPeer(b);
    b.addPeer(a);

    // Both send at random times, sometimes at the same moment, for longer than a session lives.
    let count = 0;
    for (let time = network.now; time < 400_000; time += random.fraction() * 20_000) {
      const which = random.below(3);
      network.at(time, () => {
        if (which !== 1) a.sendTo(2, `a${count++}`);
        if (which !== 0) b.sendTo(1, `b${count++}`);
      });
    }
    network.runUntil(400_000);

    // On a good link they reach each other from any state within one REKEY_TIMEOUT, or 15 s after a stale session.
    network.weather = () => [random.fraction() * 20];
    for (let i = 0; i < 25; i++) {
      network.at(network.now + i * 1000, () => {
        a.sendTo(2, 'to b');
        b.sendTo(1, 'to a');
      });
    }
    network.runFor(24_000);
    const before = [a.received.length, b.received.length] as const;
    network.runFor(2000);
    const fresh = [a.received.slice(before[0]), b.received.slice(before[1])] as const;
    assert.ok(
      fresh[0].some(({ bytes }) => payloadOf(bytes) === 'to a'),
      `seed ${seed}: a receives nothing`,
    );
    assert.ok(
      fresh[1].some(({ bytes }) => payloadOf(bytes) === 'to b'),
      `seed ${seed}: b receives nothing`,
    );
    for (const node of [a, b]) {
      assert.equal(node.device.drops.of('not-allowed-source'), 0);
      const payloads = node.received
        .map(({ bytes }) => payloadOf(bytes))
        .filter((text) => !text.startsWith('to'));
      assert.equal(new Set(payloads).size, payloads.length, `seed ${seed}: a packet was delivered twice`);
    }
  }
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MESSAGE_TYPE, messageType, viewOf } from '../../src/wireguard/messages.js';
import { attacks } from '../kit/attacks.js';
import { needs } from '../kit/requirements.js';
import { Siege } from '../kit/siege.js';

const MESSAGES = 100_000;
/** Handshake messages are so few that the device is not under load, and looks at each as closely as it can. */
const AT_ONCE = { handshake: 100, other: 1500 } as const;
/** By how much memory may differ between two moments of a process that leaks nothing, bytes. */
const SLACK = 16e6;

test('100 000 of each kind of bad message leave no trace', async (t) => {
  if (!needs(t, 'root', 'tun', 'netns', 'wg')) return;
  const siege = await Siege.start(t);
  const { device } = siege;
  const stranger = siege.open('192.0.2.3');
  const { length } = await attacks(siege);
  for (let kind = 0; kind < length; kind++) {
    // With a new session for each: they do not live for ever.
    const { name, reason, authentic, make } = (await attacks(siege))[kind]!;
    await t.test(`${name}: ${reason}`, async (t) => {
      const socket = authentic ? siege.socket : stranger;
      // What is authentic is new every time: a replay would be another reason.
      const fixed = authentic ? undefined : Array.from({ length: 210 }, (_, i) => make(i));
      const message = (i: number): Uint8Array => fixed?.[i % fixed.length] ?? make(i);
      const atOnce = isHandshake(message(0)) ? AT_ONCE.handshake : AT_ONCE.other;
      await siege.flood(socket, MESSAGES / 5, message, atOnce);
      const log = await siege.log();
      let grown = Infinity;
      let counts: Record<string, number> = {};
      // Memory comes and goes; what is a trace of each message grows every time.
      for (let again = 0; again < 3 && grown >= SLACK; again++) {
        const [drops, memory] = [await siege.drops(), device.residentBytes];
        await siege.flood(socket, MESSAGES, message, atOnce);
        grown = device.residentBytes - memory;
        t.diagnostic(`memory: ${(memory / 1e6).toFixed(1)} MB, then ${(grown / 1e6).toFixed(1)} MB more`);
        counts = await siege.dropped(drops, MESSAGES);
      }
      assert.ok(grown < SLACK, `memory has grown by ${grown} bytes`);
      assert.equal(await siege.log(), log);
      const underLoad = (counts['cookie-sent'] ?? 0) + (counts['busy'] ?? 0); // the machine was busy elsewhere
      assert.equal(counts[reason]! + underLoad, MESSAGES, JSON.stringify(counts));
      if (underLoad === 0) assert.deepEqual(stranger.take(), []);
      else stranger.take();
      await siege.goesOn();
    });
  }
});

const isHandshake = (message: Uint8Array): boolean => {
  const type = messageType(viewOf(message), 0, message.length);
  return type !== 0 && type !== MESSAGE_TYPE.transport;
};

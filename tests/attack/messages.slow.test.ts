import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { COOKIE_REPLY, INITIATION, MESSAGE_TYPE, viewOf } from '../../src/wireguard/messages.js';
import {
  type AttackerSocket,
  base64,
  echoRequest,
  HandmadePeer,
  hex,
  isType,
  random,
} from '../kit/attacker.js';
import { attacks, LOW_ORDER } from '../kit/attacks.js';
import { needs } from '../kit/requirements.js';
import { ADDRESS, Siege } from '../kit/siege.js';
import { until } from '../kit/wait.js';

/** Messages from strangers and malicious peers do not affect a running lametund. */

const canRun = (t: TestContext): boolean => needs(t, 'root', 'tun', 'netns', 'wg');
const TIMES = 10;

test('bad messages are counted by reason, and have no other effect', async (t) => {
  if (!canRun(t)) return;
  const siege = await Siege.start(t);
  const { device } = siege;
  const stranger = siege.open('192.0.2.3');
  const all = await attacks(siege);
  const log = await siege.log();
  for (const attack of all) {
    await t.test(`${attack.name}: ${attack.reason}`, async () => {
      // Authentic messages come from the peer's endpoint: from elsewhere, the peer would roam there.
      const socket = attack.authentic ? siege.socket : stranger;
      const bad = Array.from({ length: TIMES }, (_, i) => attack.make(i));
      siege.socket.take();
      const [drops, state] = [await siege.drops(), siege.state];
      socket.send(...bad);
      assert.deepEqual(await siege.dropped(drops, TIMES), { [attack.reason]: TIMES });
      assert.deepEqual([...stranger.take(), ...siege.socket.take()], [], 'unexpected answer');
      if (!attack.authentic) assert.equal(siege.state, state);
      assert.equal(withoutReceived(siege.state), withoutReceived(state));
      await siege.ping(attack.session);
      assert.deepEqual(stranger.take(), []);
      assert.equal(device.stdout, log);
      assert.deepEqual(await siege.dropped(drops, TIMES), { [attack.reason]: TIMES });
    });
  }
  // Control: the same socket gets an answer to a valid message.
  await siege.handshake(stranger);
  assert.match(siege.state, /192\.0\.2\.3:/);
  assert.equal(device.stderr, '');
});

/** `wg show dump` without received bytes, which count every authentic message. */
const withoutReceived = (dump: string): string => dump.replace(/(\d+)(\t\d+\t\S+\n)$/, '$2');

test('a low-order public key can be configured, but no handshake with it succeeds', async (t) => {
  if (!canRun(t)) return;
  const siege = await Siege.start(t);
  const before = siege.state;
  const stranger = siege.open('192.0.2.3');
  for (const point of LOW_ORDER) {
    siege.device.set('peer', base64(point), 'allowed-ips', '10.77.0.9/32', 'endpoint', '192.0.2.3:9');
    const liar = HandmadePeer.claiming(siege.publicKey, point);
    const drops = await siege.drops();
    const { message } = liar.initiation();
    stranger.send(message);
    assert.deepEqual(await siege.dropped(drops, 1), { 'bad-handshake': 1 });
    siege.device.set('peer', base64(point), 'remove');
  }
  assert.deepEqual(stranger.take(), []);
  assert.equal(siege.state, before);
  await siege.handshake();
});

test('a device that is down stays silent, and counts messages', async (t) => {
  if (!canRun(t)) return;
  const siege = await Siege.start(t);
  const { device, socket, peer } = siege;
  const session = await siege.handshake();
  const last = session.seal(echoRequest(ADDRESS.peer, ADDRESS.inner));
  device.ip(`link set ${device.device} down`);
  await until('the device to be down', () => device.stdout.includes('requested Down'));
  socket.take();
  const [drops, log] = [await siege.drops(), await siege.log()];
  const cookieReply = random(COOKIE_REPLY.length);
  viewOf(cookieReply).setUint32(0, MESSAGE_TYPE.cookieReply, true);
  socket.send(peer.initiation().message, last, session.seal(), cookieReply, random(100));
  assert.deepEqual(await siege.dropped(drops, 5), { down: 5 });
  assert.deepEqual(socket.take(), []);
  assert.equal(await siege.log(), log);

  device.ip(`link set ${device.device} up`);
  await until('the device to be up', () => device.stdout.endsWith('now Up\n'));
  const up = await siege.drops();
  socket.send(last); // its session has ended
  assert.deepEqual(await siege.dropped(up, 1), { 'unknown-index': 1 });
  await siege.handshake();
});

test('a peer roams only with authentic packets', async (t) => {
  if (!canRun(t)) return;
  const siege = await Siege.start(t);
  const session = await siege.handshake();
  const elsewhere = siege.open('192.0.2.4', 40_004);
  const endpoint = (): string => [...siege.device.peers.values()][0]!.endpoint;
  assert.equal(endpoint(), '192.0.2.2:40000');

  const drops = await siege.drops();
  const seen = session.seal();
  siege.socket.send(seen);
  const forged = session.seal();
  forged[forged.length - 1]! ^= 1;
  elsewhere.send(seen, forged);
  assert.deepEqual(await siege.dropped(drops, 2), { replayed: 1, 'bad-tag': 1 });
  assert.equal(endpoint(), '192.0.2.2:40000');
  await siege.ping(session);
  assert.deepEqual(elsewhere.take(), []);

  await siege.ping(session, elsewhere);
  assert.equal(endpoint(), '192.0.2.4:40004');
  elsewhere.send(session.seal(echoRequest('10.77.0.66', ADDRESS.inner))); // authentic, despite the wrong inner source
  siege.socket.send(session.seal(echoRequest('10.77.0.66', ADDRESS.inner)));
  await until('the peer to be back', () => endpoint() === '192.0.2.2:40000');
});

/** A flood of initiations from an unknown peer. */
class Flood {
  /** How many bursts were sent, and how many of them met a device that was not under load all the time. */
  #bursts = 0;
  #gaps = 0;
  #stopped = false;
  readonly #running: Promise<void>;

  constructor(siege: Siege, socket: AttackerSocket) {
    this.#running = this.#run(siege, socket);
  }

  /**
   * Does something while the device is under load, which lasts for a second after a burst. On a busy machine the load may
   * pause; an attempt that failed with a pause is repeated.
   */
  async during(attempt: () => Promise<void>): Promise<void> {
    for (let again = 0; ; again++) {
      await this.#next();
      const gaps = this.#gaps;
      try {
        await attempt();
        return;
      } catch (error) {
        await this.#next();
        if (this.#gaps === gaps || again === 20) throw error;
      }
    }
  }

  stop(): Promise<void> {
    this.#stopped = true;
    return this.#running;
  }

  async #next(): Promise<void> {
    const bursts = this.#bursts;
    await Promise.race([this.#running, until('another burst', () => this.#bursts > bursts)]);
  }

  async #run(siege: Siege, socket: AttackerSocket): Promise<void> {
    const nobody = new HandmadePeer(siege.publicKey);
    const burst = Array.from({ length: 512 }, () => nobody.initiation().message);
    while (!this.#stopped) {
      const [total, cookies] = [await siege.total(), await cookiesOf(siege)];
      socket.send(...burst);
      await until('the burst to be dropped', async () => (await siege.total()) - total >= burst.length);
      if ((await cookiesOf(siege)) - cookies < burst.length) this.#gaps++;
      this.#bursts++;
      socket.take();
      await sleep(50);
    }
  }
}

const cookiesOf = async (siege: Siege): Promise<number> => (await siege.drops()).get('cookie-sent') ?? 0;

test('under load a peer with a cookie gets through, and a flood without cookies is ignored', async (t) => {
  if (!canRun(t)) return;
  const siege = await Siege.start(t);
  const { peer, socket, device } = siege;
  const session = await siege.handshake();
  const log = device.stdout;
  const flood = new Flood(siege, siege.open('192.0.2.5'));
  await until('the device to be under load', async () => (await cookiesOf(siege)) > 100);

  await flood.during(async () => {
    socket.take();
    const first = peer.initiation();
    socket.send(first.message);
    const reply = await socket.wait(isType(MESSAGE_TYPE.cookieReply), 5_000);
    assert.ok(reply, 'no cookie');
    assert.equal(
      viewOf(reply).getUint32(COOKIE_REPLY.receiver),
      viewOf(first.message).getUint32(INITIATION.sender),
    );
    assert.ok(peer.cookies.open(reply, performance.now()), 'the cookie cannot be opened');
  });

  const thief = siege.open('192.0.2.2', 40_002);
  await flood.during(async () => {
    // The cookie is valid only for the address and port that it was sent to.
    const strangers = (await siege.drops()).get('unknown-peer');
    const second = peer.initiation();
    assert.notEqual(hex(second.message.subarray(INITIATION.mac2)), '0'.repeat(32));
    thief.take();
    thief.send(second.message);
    assert.ok(await thief.wait(isType(MESSAGE_TYPE.cookieReply), 5_000), 'a stolen cookie was accepted');
    socket.send(second.message);
    const next = await socket.wait(second.complete, 5_000);
    assert.ok(next, 'a peer with a cookie does not get through');
    await siege.ping(session); // the existing session works under load
    assert.equal(
      (await siege.drops()).get('unknown-peer'),
      strangers,
      'initiations of the flood were processed',
    );
  });
  await flood.stop();
  const more = device.stdout.slice(log.length);
  assert.ok(!more.includes('cookie'), more);
});

test('under load one address gets 20 handshakes per second and a burst of 5, even with a cookie', async (t) => {
  if (!canRun(t)) return;
  const siege = await Siege.start(t);
  const socket = siege.open('192.0.2.3');
  const flood = new Flood(siege, siege.open('192.0.2.5'));
  await until('the device to be under load', async () => (await cookiesOf(siege)) > 100);
  await flood.during(async () => {
    await sleep(300); // the bucket is full again
    const stranger = new HandmadePeer(siege.publicKey);
    socket.take();
    socket.send(stranger.initiation().message);
    const reply = await socket.wait(isType(MESSAGE_TYPE.cookieReply), 5_000);
    assert.ok(reply && stranger.cookies.open(reply, performance.now()), 'no cookie');

    const before = await siege.drops();
    const started = performance.now();
    const counts = async () => {
      const now = await siege.drops();
      const grown = (reason: string): number => (now.get(reason) ?? 0) - (before.get(reason) ?? 0);
      return { limited: grown('rate-limited'), heard: grown('unknown-peer') };
    };
    for (let sent = 0; sent < 100; sent += 20) {
      socket.send(...Array.from({ length: 20 }, () => stranger.initiation().message));
      await until('the initiations to be read', async () => {
        const { limited, heard } = await counts();
        return limited + heard >= sent + 20;
      });
    }
    const { limited, heard } = await counts();
    const seconds = (performance.now() - started) / 1000;
    assert.equal(limited + heard, 100);
    assert.ok(heard >= 5 && heard <= 5 + Math.ceil(20 * seconds), `${heard} accepted in ${seconds} s`);
  });
  await flood.stop();
});

test('100 000 bad messages cause no log, no answer and no memory growth, and the session survives', async (t) => {
  if (!canRun(t)) return;
  const siege = await Siege.start(t);
  const { device } = siege;
  const stranger = siege.open('192.0.2.3');
  const kinds = await attacks(siege);
  const cheap = kinds.filter(({ authentic }) => !authentic);
  const prepared = cheap.map(({ make }) => Array.from({ length: 64 }, (_, i) => make(i)));
  const any = (i: number): Uint8Array =>
    prepared[i % prepared.length]![Math.floor(i / prepared.length) % 64]!;
  const [log, state] = [await siege.log(), siege.state];
  await siege.flood(stranger, 40_000, any, 1000);
  let grown = Infinity;
  // Memory use varies; a leak per message would grow every time.
  for (let again = 0; again < 3 && grown >= 16e6; again++) {
    const before = device.residentBytes;
    await siege.flood(stranger, 100_000, any, 1000);
    grown = device.residentBytes - before;
    t.diagnostic(
      `memory: ${(before / 1e6).toFixed(1)} MB, and ${(grown / 1e6).toFixed(1)} MB after 100 000 more`,
    );
  }
  t.diagnostic(`${[...(await siege.drops())].map(([reason, count]) => `${reason} ${count}`).join(', ')}`);
  assert.ok(grown < 16e6, `memory has grown by ${grown} bytes`);
  assert.equal(await siege.log(), log);
  assert.equal(withoutReceived(siege.state), withoutReceived(state));
  // Under load the answer to a handshake is a cookie reply; no other answer is allowed.
  assert.ok(stranger.take().every(({ bytes }) => bytes[0] === MESSAGE_TYPE.cookieReply));
  await siege.assertWorks();
});

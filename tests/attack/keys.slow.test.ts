import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { INITIATION, MESSAGE_TYPE } from '../../src/wireguard/messages.js';
import { base64, crypto, hex, isType } from '../kit/attacker.js';
import { readMemory } from '../kit/process-memory.js';
import { needs } from '../kit/requirements.js';
import { ADDRESS, Siege } from '../kit/siege.js';
import { ping } from '../kit/traffic.js';
import { until } from '../kit/wait.js';

const canRun = (t: TestContext): boolean => needs(t, 'root', 'tun', 'netns', 'wg', 'ping');

/**
 * How many private keys of some public keys are in a process's memory. Only the process knows them, so all values that
 * look like a key are tried. Memory is allocated at multiples of 8.
 */
function privateKeysOf(publicKeys: readonly Uint8Array[], pid: number): number {
  const tried = new Set<string>();
  const expected = new Set(publicKeys.map(hex));
  let found = 0;
  for (const { bytes } of readMemory(pid, 40)) {
    for (let at = 0; at + 32 <= bytes.length; at += 8) {
      if (!looksRandom(bytes, at)) continue;
      const candidate = bytes.toString('latin1', at, at + 32);
      if (tried.has(candidate)) continue;
      tried.add(candidate);
      const key = crypto.privateKey(bytes.subarray(at, at + 32));
      if (expected.has(hex(key.publicKey.bytes))) found++;
      key.destroy();
    }
  }
  assert.ok(tried.size > 100, 'hardly any candidates were tried');
  return found;
}

/** A filter: in 32 random bytes, rarely more than 8 repeat others, and rarely are the bytes of a word nearly equal. */
function looksRandom(bytes: Uint8Array, at: number): boolean {
  const seen = new Uint32Array(8);
  let distinct = 0;
  let high = 0;
  for (let i = at; i < at + 32; i++) {
    const byte = bytes[i]!;
    const bit = 1 << (byte & 31);
    if ((seen[byte >> 5]! & bit) === 0) distinct++;
    seen[byte >> 5]! |= bit;
    if (byte >= 0x80) high++;
  }
  return distinct >= 24 && high >= 5 && high <= 27;
}

test('the ephemeral private key of an initiation is in memory only until the response', async (t) => {
  if (!canRun(t)) return;
  const siege = await Siege.start(t);
  const { device, peer, socket } = siege;
  device.set('peer', base64(peer.publicKey), 'endpoint', `192.0.2.2:${socket.port}`);
  const pinging = ping(device.host!, ADDRESS.peer, { count: 1, wait: 1 });
  const initiation = await socket.wait(isType(MESSAGE_TYPE.initiation));
  assert.ok(initiation);
  const ephemeral = initiation.slice(INITIATION.ephemeral, INITIATION.static);
  // The search is slow, and every five seconds another initiation uses a new key, so the process is stopped meanwhile.
  process.kill(device.pid, 'SIGSTOP');
  try {
    assert.equal(privateKeysOf([ephemeral], device.pid), 1, 'control');
  } finally {
    process.kill(device.pid, 'SIGCONT');
  }
  await pinging;
  // Another initiation may be in flight: then the response must answer that one.
  const all = new Set([initiation]);
  const again = ping(device.host!, ADDRESS.peer, { count: 1, wait: 1 }); // the first attempt may have ended meanwhile
  let isTaken = false;
  for (let next: Uint8Array | undefined = initiation; next !== undefined && !isTaken; ) {
    all.add(next);
    const { message, session } = peer.respond(next);
    socket.send(message);
    next = undefined;
    const found = await socket.wait((datagram) => {
      next = isType(MESSAGE_TYPE.initiation)(datagram);
      return next !== undefined ? false : session.open(datagram) && true;
    });
    isTaken = found ?? false;
  }
  await again;
  assert.ok(isTaken, 'no response was accepted');
  const keys = [...all].map((each) => each.slice(INITIATION.ephemeral, INITIATION.static));
  await until('the keys to be erased', () => privateKeysOf(keys, device.pid) === 0, 30_000);
});

test('the ephemeral private key of a response is erased once the response is sent', async (t) => {
  if (!canRun(t)) return;
  const siege = await Siege.start(t);
  await siege.handshake();
  await sleep(100);
  const { message, complete } = siege.peer.initiation();
  siege.socket.send(message);
  const response = await siege.socket.wait((datagram) => (complete(datagram) ? datagram : undefined));
  assert.ok(response);
  assert.equal(privateKeysOf([response.slice(12, 44)], siege.device.pid), 0);
});

/**
 * Runs handshakes with the product's protocol code and a garbage collection at every step, and prints the secrets. Then it
 * waits on standard input while the parent process searches its memory for them. Its own copies are inverted.
 *
 * Usage:
 *
 *     node --expose-gc handshake.js
 *
 * It prints one line while the sessions live, and another when all are gone. Both are JSON arrays of the secrets in
 * hexadecimal, each byte inverted.
 */
import { createInterface } from 'node:readline';
import { NodeCrypto } from '../../src/crypto/node-crypto.js';
import type { PrivateKey, PublicKey } from '../../src/wireguard/crypto.js';
import type { MachineEvent, PeerEndpoint } from '../../src/wireguard/events.js';
import { WireGuardMachine } from '../../src/wireguard/machine.js';
import type { PeerNumber } from '../../src/wireguard/numbers.js';
import type { Peer } from '../../src/wireguard/peer.js';

const secrets: Uint8Array[] = [];
const collect = globalThis.gc!;

/** Records a secret, inverted. */
function note(secret: Uint8Array | undefined): void {
  if (secret === undefined) return;
  const inverted = new Uint8Array(new ArrayBuffer(secret.length));
  for (let i = 0; i < secret.length; i++) inverted[i] = secret[i]! ^ 0xff;
  secrets.push(inverted);
}

class NotingCrypto extends NodeCrypto {
  override dh(privateKey: PrivateKey, publicKey: PublicKey, out: Uint8Array): boolean {
    const usable = super.dh(privateKey, publicKey, out);
    note(out);
    collect();
    return usable;
  }

  override kdf(key: Uint8Array, input: Uint8Array, ...outs: [Uint8Array, Uint8Array?, Uint8Array?]): void {
    super.kdf(key, input, ...outs);
    outs.forEach(note);
    collect();
  }
}

const somewhere: PeerEndpoint = { bytes: Uint8Array.of(192, 0, 2, 1, 0, 1), equals: () => true };
const crypto = new NotingCrypto();
const devices = [0, 1].map(() => new WireGuardMachine({ crypto, wallClock: () => Date.now() }));
const keys = devices.map(() => crypto.generate());
for (const [i, device] of devices.entries()) device.setPrivateKey(keys[i], 1);
const peers = devices.map((device, i) => device.addPeer(keys[1 - i]!.publicKey.bytes, 0 as PeerNumber));
for (const [i, peer] of peers.entries()) {
  devices[i]!.setEndpoint(peer, somewhere);
  devices[i]!.up(1);
}

/** The session keys that the data plane would hold until the session ends. */
const installed = new Map<string, Uint8Array[]>();
function act(side: number, event: MachineEvent<Peer>, now: number): void {
  const other = devices[1 - side]!;
  if (event.kind === 'datagram') other.handleDatagram(event.bytes, somewhere, now, 0);
  if (event.kind === 'install-keypair') {
    installed.set(`${side} ${event.keypair.localIndex}`, [event.sendingKey, event.receivingKey]);
  }
  if (event.kind === 'drop-keypair') {
    for (const key of installed.get(`${side} ${event.localIndex}`) ?? []) key.fill(0);
    installed.delete(`${side} ${event.localIndex}`);
  }
}
function settle(now: number): void {
  for (let busy = true; busy; ) {
    busy = false;
    for (const [side, device] of devices.entries()) {
      for (let event = device.poll(); event; event = device.poll()) {
        busy = true;
        act(side, event, now);
      }
    }
  }
}

for (let now = 1000; now < 100_000; now += 20_000) {
  const [device, peer] = now % 40_000 === 1000 ? [devices[0]!, peers[0]!] : [devices[1]!, peers[1]!];
  device.setPersistentKeepalive(peer, 0, now);
  device.setPersistentKeepalive(peer, 1000, now); // starts a handshake at once if there is no session
  settle(now);
  device.setPersistentKeepalive(peer, 0, now);
  if (now < 80_000) {
    device.down(now);
    settle(now);
    device.up(now);
  }
}

const tell = (): void =>
  console.log(JSON.stringify(secrets.map((bytes) => Buffer.from(bytes).toString('hex'))));
tell();
for await (const _line of createInterface({ input: process.stdin })) {
  for (const [i, device] of devices.entries()) {
    device.removePeer(peers[i]!, 200_000);
    device.down(200_000);
    device.setPrivateKey(undefined, 200_000);
  }
  settle(200_000);
  collect();
  tell();
}

import assert from 'node:assert/strict';
import type { TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { askDevice } from '../../src/device/uapi/client.js';
import { connect, Namespace } from '../../src/linux/process/namespace.js';
import { INITIATION_INTERVAL, REJECT_AFTER_TIME } from '../../src/wireguard/constants.js';
import { UNDER_LOAD_TIME } from '../../src/wireguard/machine.js';
import { MESSAGE_TYPE } from '../../src/wireguard/messages.js';
import {
  AttackerSocket,
  base64,
  crypto,
  echoReplySequence,
  echoRequest,
  HandmadePeer,
  type HandmadeSession,
  isType,
  random,
  randomKey,
} from './attacker.js';
import { until } from './wait.js';
import { WireGuard } from './wireguard.js';

export const PORT = 51_820;
/** The device's outer and inner address, and its peer's inner address. */
export const ADDRESS = { device: '192.0.2.1', inner: '10.77.0.1', peer: '10.77.0.2' } as const;

let sieges = 0;

/**
 * A lametund on its own host, with one handmade peer. The host at the other end of the cable has several addresses, for
 * the peer and for strangers.
 */
export class Siege {
  readonly device: WireGuard;
  readonly privateKey: Uint8Array;
  readonly publicKey: Uint8Array;
  readonly peer: HandmadePeer;
  /** The peer's socket. */
  readonly socket: AttackerSocket;
  readonly #host: Namespace;
  readonly #sockets: AttackerSocket[] = [];
  readonly #sessions: HandmadeSession[] = [];
  #sessionEnds = 0;
  /** The initiation of the last handshake. */
  lastInitiation: Uint8Array | undefined;
  #sequence = 0;

  private constructor(device: WireGuard, host: Namespace, privateKey: Uint8Array) {
    this.device = device;
    this.#host = host;
    this.privateKey = privateKey;
    this.publicKey = crypto.privateKey(privateKey).publicKey.bytes;
    this.peer = new HandmadePeer(this.publicKey, randomKey(), random(32));
    this.socket = this.open('192.0.2.2', 40_000);
  }

  static async start(t: Pick<TestContext, 'after'>): Promise<Siege> {
    const prefix = `s${(process.pid % 46_656).toString(36)}x${sieges++}`;
    const hosts = Namespace.createAll([`${prefix}d`, `${prefix}a`]);
    const [host, attacker] = hosts as [Namespace, Namespace];
    t.after(() => hosts.map((each) => each.remove()));
    host.sysctl({ 'net.ipv6.conf.default.disable_ipv6': 1 }); // otherwise the kernel sends packets that belong to no peer
    connect(
      { namespace: host, device: 'eth0', addresses: [`${ADDRESS.device}/24`] },
      {
        namespace: attacker,
        device: 'eth0',
        addresses: ['192.0.2.2/24', '192.0.2.3/24', '192.0.2.4/24', '192.0.2.5/24'],
      },
    );
    const device = await WireGuard.start(t, prefix, 'lametund', host);
    const siege = new Siege(device, attacker, randomKey());
    t.after(() => siege.#sockets.map((socket) => socket.close()));
    device.set('private-key', base64(siege.privateKey), 'listen-port', `${PORT}`);
    siege.configurePeer();
    device.ip(`address add ${ADDRESS.inner}/24 dev ${prefix}`);
    await device.up();
    return siege;
  }

  configurePeer(): void {
    this.device.set(
      ...['peer', base64(this.peer.publicKey), 'preshared-key', base64(this.peer.presharedKey)],
      ...['allowed-ips', `${ADDRESS.peer}/32`],
    );
  }

  /** Opens a socket at one of the attacking host's addresses, 192.0.2.2 to 192.0.2.5. */
  open(address: string, port = 0): AttackerSocket {
    const socket = new AttackerSocket(this.#host, address, ADDRESS.device, PORT, port);
    this.#sockets.push(socket);
    return socket;
  }

  /** Completes a handshake of the peer, and sends the first packet of the session. */
  async handshake(socket = this.socket, tries = 3): Promise<HandmadeSession> {
    await sleep(INITIATION_INTERVAL + 5);
    const { message, complete } = this.peer.initiation();
    socket.send(message);
    const answer = await socket.wait(
      (datagram) => complete(datagram) ?? (isType(MESSAGE_TYPE.cookieReply)(datagram) && 'cookie'),
    );
    assert.ok(answer, 'a valid initiation was not answered');
    if (answer === 'cookie') {
      assert.ok(tries > 1, 'the device is under load');
      await sleep(UNDER_LOAD_TIME); // a busy machine can bring a burst of messages
      return this.handshake(socket, tries - 1);
    }
    this.#sessions.push(answer);
    this.#sessionEnds = performance.now() + REJECT_AFTER_TIME - 20_000;
    this.lastInitiation = message;
    await this.ping(answer, socket);
    return answer;
  }

  /** Whether the last session is still valid, for packets in flight as well. */
  get #hasSession(): boolean {
    return performance.now() < this.#sessionEnds;
  }

  /** Asserts that the device works, and its last session too, unless it has expired on a slow machine. */
  async assertWorks(): Promise<void> {
    if (this.#hasSession) await this.ping(this.#sessions.at(-1)!);
    else await this.handshake();
  }

  /** Asserts that the device answers a ping in this session, possibly in an earlier one. */
  async ping(session: HandmadeSession, socket = this.socket): Promise<void> {
    const sequence = this.#sequence++ & 0xffff;
    socket.send(session.seal(echoRequest(ADDRESS.peer, ADDRESS.inner, sequence)));
    const answer = await socket.wait((datagram) => {
      for (const each of this.#sessions) {
        const packet = each.open(datagram);
        if (packet && echoReplySequence(packet) === sequence) return true;
      }
      return undefined;
    });
    assert.ok(answer, 'a ping was not answered');
  }

  async drops(): Promise<Map<string, number>> {
    const lines = await askDevice(this.device.device, 'get=drops');
    return new Map(lines.map(([reason, count]) => [reason, Number(count)]));
  }

  async total(): Promise<number> {
    return [...(await this.drops()).values()].reduce((sum, count) => sum + count, 0);
  }

  /** Waits for `count` drops since `before`, for any reason. @returns the growth of each count */
  async dropped(before: ReadonlyMap<string, number>, count: number): Promise<Record<string, number>> {
    const growth = async () =>
      [...(await this.drops())]
        .map(([reason, now]): [string, number] => [reason, now - (before.get(reason) ?? 0)])
        .filter(([, more]) => more !== 0);
    const enough = await until(`${count} drops`, async () => {
      const grown = await growth();
      return grown.reduce((sum, [, more]) => sum + more, 0) >= count && grown;
    });
    return Object.fromEntries(enough);
  }

  /**
   * Sends many bad messages, no faster than the device drops them. The peer sends keepalives meanwhile; otherwise the
   * device would start a handshake.
   */
  async flood(
    socket: AttackerSocket,
    count: number,
    make: (i: number) => Uint8Array,
    atOnce = 500,
  ): Promise<void> {
    const before = await this.total();
    for (let sent = 0; sent < count; ) {
      const some = Array.from({ length: Math.min(atOnce, count - sent) }, (_, i) => make(sent + i));
      socket.send(...some);
      const session = this.#sessions.at(-1);
      // In an expired session the keepalive would itself be a bad message.
      if (session && this.#hasSession) this.socket.send(session.seal());
      sent += some.length;
      const deadline = performance.now() + 60_000;
      while ((await this.total()) - before < sent) {
        assert.ok(performance.now() < deadline, 'not all bad messages were counted as dropped');
        await sleep(2);
      }
    }
  }

  /** The device's log, once it has stopped growing. */
  async log(): Promise<string> {
    for (;;) {
      const said = this.device.stdout;
      await sleep(500);
      if (this.device.stdout === said) return said;
    }
  }

  /** The state of the device, as `wg show DEVICE dump` prints it. */
  get state(): string {
    return this.device.show('dump');
  }
}

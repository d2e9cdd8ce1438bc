import { fileURLToPath } from 'node:url';
import { connect, Namespace } from '../../src/linux/process/namespace.js';
import { Lametun } from '../kit/lametun.js';
import { ping } from '../kit/traffic.js';
import { until } from '../kit/wait.js';
import { newKey } from '../kit/wireguard.js';
import { Daemon, type Implementation } from './daemon.js';
import { tcp } from './iperf.js';

/** Something that carries packets between the two hosts. */
export interface Tunnel {
  readonly name: string;
  /** The address of the server's end. */
  readonly address: string;
  /** The processes of both ends. */
  readonly pids: readonly number[];
}

export const OUTER = { client: '192.0.2.1', server: '192.0.2.2' } as const;

const NAIVE = fileURLToPath(new URL('./naive.js', import.meta.url));

/** All tunnels have it, so that all cut traffic into the same packets. */
export const MTU = 1420;

/** What a section is run with: the hosts, who is compared, and for how long. */
export class Hosts {
  /** Two hosts on one cable; the client is who begins. */
  readonly client: Namespace;
  readonly server: Namespace;
  readonly implementations: readonly Implementation[];
  /** The essentials only. */
  readonly quick: boolean;
  /** How long a run of traffic lasts. */
  readonly seconds: number;
  #tunnels: Promise<readonly Tunnel[]> | undefined;
  #plain: Promise<Tunnel> | undefined;
  #plainTunnels: Promise<readonly Tunnel[]> | undefined;
  #devices = 0;

  constructor(implementations: readonly Implementation[], quick: boolean, seconds: number) {
    const [client, server] = Namespace.createAll(['bench-client', 'bench-server']) as [Namespace, Namespace];
    connect(
      { namespace: client, device: 'eth0', addresses: [`${OUTER.client}/24`] },
      { namespace: server, device: 'eth0', addresses: [`${OUTER.server}/24`] },
    );
    this.client = client;
    this.server = server;
    this.implementations = implementations;
    this.quick = quick;
    this.seconds = seconds;
  }

  /** Every WireGuard, the plain tunnel and the bare cable, all ready at the same time. */
  tunnels(): Promise<readonly Tunnel[]> {
    this.#tunnels ??= this.#startAll();
    return this.#tunnels;
  }

  /** The plain tunnel, and what speaks the same on the wire: a naive one, and the original where LAMETUN_GO names it. */
  plainTunnels(): Promise<readonly Tunnel[]> {
    this.#plainTunnels ??= this.#startPlain();
    return this.#plainTunnels;
  }

  /** A name for a device, never used before. */
  newDevice(): string {
    return `wg${this.#devices++}`;
  }

  implementation(name: string): Implementation {
    return this.implementations.find((one) => one.name === name)!;
  }

  /** A WireGuard device on each host that knows the other one; a ping has passed. */
  async pair(
    implementation: Implementation,
  ): Promise<{ client: Daemon; server: Daemon; address: string; stop(): Promise<void> }> {
    const device = this.newDevice();
    const number = this.#devices;
    const [client, server] = await Promise.all([
      Daemon.start(implementation, this.client, `${device}c`),
      Daemon.start(implementation, this.server, `${device}s`),
    ]);
    const keys = { client: newKey(), server: newKey() };
    const port = 51_820 + number;
    const network = `10.${16 + (number >> 8)}.${number & 255}`;
    const address = `${network}.1`;
    server.configure(
      'setconf',
      interfaceText(keys.server.privateKey, port) + peerText(keys.client.publicKey, [`${network}.2/32`]),
    );
    client.configure(
      'setconf',
      interfaceText(keys.client.privateKey, port) +
        peerText(keys.server.publicKey, [`${address}/32`], `${OUTER.server}:${port}`),
    );
    server.up(`${address}/24`);
    client.up(`${network}.2/24`);
    await this.#answer(implementation.name, address);
    const stop = async (): Promise<void> => void (await Promise.all([client.stop(), server.stop()]));
    return { client, server, address, stop };
  }

  async #startAll(): Promise<readonly Tunnel[]> {
    const tunnels: Tunnel[] = [];
    for (const implementation of this.implementations) {
      const { client, server, address } = await this.pair(implementation);
      tunnels.push({ name: implementation.name, address, pids: [client.pid, server.pid] });
    }
    if (!this.quick) tunnels.push(await this.#ourPlain());
    tunnels.push({ name: 'bare cable', address: OUTER.server, pids: [] });
    // Daemons run for days. A first run, which finds nothing compiled and no buffers grown, is not counted.
    for (const { address } of tunnels) {
      for (const direction of ['up', 'down'] as const) await tcp(this, address, 1, direction, 1);
    }
    return tunnels;
  }

  async #startPlain(): Promise<readonly Tunnel[]> {
    const node = process.execPath;
    const tunnels = [
      await this.#ourPlain(),
      await this.#likePost('naive dgram', 6, 'nv0', {
        listen: [node, NAIVE, 'nv0', '1236'],
        connect: [node, NAIVE, 'nv0', '1236', OUTER.server],
      }),
    ];
    const go = process.env['LAMETUN_GO'];
    if (go === undefined) return tunnels;
    const original = [go, '-device', 'go0', '-port', '1235'];
    const commands = { listen: [...original, '-listen'], connect: [...original, '-server', OUTER.server] };
    return [...tunnels, await this.#likePost('Go original', 5, 'go0', commands)];
  }

  #ourPlain(): Promise<Tunnel> {
    this.#plain ??= this.#startOurPlain();
    return this.#plain;
  }

  async #startOurPlain(): Promise<Tunnel> {
    const ends = [
      new Lametun(this.server, ['-listen', '--address', '10.8.0.1/24', '--mtu', `${MTU}`]),
      new Lametun(this.client, ['-server', OUTER.server, '--address', '10.8.0.2/24', '--mtu', `${MTU}`]),
    ];
    await Promise.all(ends.map((end) => end.ready()));
    await this.#answer('lametun', '10.8.0.1');
    return { name: 'lametun (plain)', address: '10.8.0.1', pids: ends.map(({ pid }) => pid) };
  }

  /** A program that attaches to a device as the post prepares it. */
  async #likePost(
    name: string,
    network: number,
    device: string,
    commands: { readonly listen: readonly string[]; readonly connect: readonly string[] },
  ): Promise<Tunnel> {
    const start = (host: Namespace, end: number, [program, ...args]: readonly string[]): number => {
      host.ip([
        `tuntap add dev ${device} mode tun`,
        `address add 10.${network}.0.${end}/24 dev ${device}`,
        `link set ${device} mtu ${MTU} up`,
      ]);
      // The original prints two lines for each packet, which here nobody reads.
      return host.spawn(program!, args, { stdio: 'ignore' }).pid!;
    };
    const pids = [start(this.server, 1, commands.listen), start(this.client, 2, commands.connect)];
    const address = `10.${network}.0.1`;
    await this.#answer(name, address);
    return { name, address, pids };
  }

  #answer(name: string, address: string): Promise<true> {
    return until(`${name} to answer a ping`, async () => (await ping(this.client, address)).received === 1);
  }
}

export const interfaceText = (privateKey: string, port: number): string =>
  `[Interface]\nPrivateKey = ${privateKey}\nListenPort = ${port}\n`;

export const peerText = (publicKey: string, allowedIps: readonly string[], endpoint?: string): string =>
  `[Peer]\nPublicKey = ${publicKey}\nAllowedIPs = ${allowedIps.join(', ')}\n${endpoint === undefined ? '' : `Endpoint = ${endpoint}\n`}`;

import { fileURLToPath } from 'node:url';
import { connect, Namespace } from '../../src/linux/process/namespace.js';
import { Lametun } from '../kit/lametun.js';
import { ping } from '../kit/traffic.js';
import { until } from '../kit/wait.js';
import { newKey } from '../kit/wireguard.js';
import { Daemon, type Implementation } from './daemon.js';
import { tcp } from './iperf.js';

/** A connection between the two hosts to measure. */
export interface Tunnel {
  readonly name: string;
  /** The address of the server's end. */
  readonly address: string;
  /** The processes of both ends. */
  readonly pids: readonly number[];
}

export const OUTER = { client: '192.0.2.1', server: '192.0.2.2' } as const;

const NAIVE = fileURLToPath(new URL('./naive.js', import.meta.url));

/** The MTU of all tunnels, so that all carry packets of the same size. */
export const MTU = 1420;

/** The environment of a section: the hosts, the implementations and the length of a run. */
export class Hosts {
  /** Two hosts on one cable. The client initiates. */
  readonly client: Namespace;
  readonly server: Namespace;
  readonly implementations: readonly Implementation[];
  /** Measures only the essentials. */
  readonly quick: boolean;
  /** The length of a run of traffic. */
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

  /** All WireGuard implementations, the plain tunnel and the bare cable, ready for traffic. */
  tunnels(): Promise<readonly Tunnel[]> {
    this.#tunnels ??= this.#startAll();
    return this.#tunnels;
  }

  /** The plain tunnel and programs with the same wire format: a naive one, and the original if LAMETUN_GO names it. */
  plainTunnels(): Promise<readonly Tunnel[]> {
    this.#plainTunnels ??= this.#startPlain();
    return this.#plainTunnels;
  }

  /** A new device name. */
  newDevice(): string {
    return `wg${this.#devices++}`;
  }

  implementation(name: string): Implementation {
    return this.implementations.find((one) => one.name === name)!;
  }

  /** Starts a WireGuard interface on each host, configures them as peers, and waits for an answer to a ping. */
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
    // Daemons run for days, so the first run, before code is compiled and buffers have grown, does not count.
    for (const { address } of tunnels) {
      for (const direction of ['up', 'down'] as const) await tcp(this, address, 1, direction, 1);
    }
    return tunnels;
  }

  async #startPlain(): Promise<readonly Tunnel[]> {
    const node = process.execPath;
    const tunnels = [
      await this.#ourPlain(),
      await this.#startAttached('naive dgram', 6, 'nv0', {
        listen: [node, NAIVE, 'nv0', '1236'],
        connect: [node, NAIVE, 'nv0', '1236', OUTER.server],
      }),
    ];
    const go = process.env['LAMETUN_GO'];
    if (go === undefined) return tunnels;
    const original = [go, '-device', 'go0', '-port', '1235'];
    const commands = { listen: [...original, '-listen'], connect: [...original, '-server', OUTER.server] };
    return [...tunnels, await this.#startAttached('Go original', 5, 'go0', commands)];
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

  /** Starts a program that attaches to a device prepared as in the blog post. */
  async #startAttached(
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
      // The original prints two lines for each packet.
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

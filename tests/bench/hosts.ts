import { connect, Namespace } from '../../src/linux/namespace.js';
import { Lametun } from '../../src/testkit/lametun.js';
import { ping } from '../../src/testkit/traffic.js';
import { until } from '../../src/testkit/wait.js';
import { Daemon, type Implementation, newKey } from './daemon.js';

/** Something that carries packets between the two hosts. */
export interface Tunnel {
  readonly name: string;
  /** The address of the server's end. */
  readonly address: string;
  /** The processes of both ends. */
  readonly pids: readonly number[];
}

export const OUTER = { client: '192.0.2.1', server: '192.0.2.2' } as const;

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
    const address = `10.9.${number}.1`;
    server.configure(
      'setconf',
      interfaceText(keys.server.privateKey, port) + peerText(keys.client.publicKey, [`10.9.${number}.2/32`]),
    );
    client.configure(
      'setconf',
      interfaceText(keys.client.privateKey, port) +
        peerText(keys.server.publicKey, [`${address}/32`], `${OUTER.server}:${port}`),
    );
    server.up(`${address}/24`);
    client.up(`10.9.${number}.2/24`);
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
    if (!this.quick) tunnels.push(await this.#plain());
    const go = process.env['LAMETUN_GO'];
    if (go !== undefined) tunnels.push(await this.#original(go));
    tunnels.push({ name: 'bare cable', address: OUTER.server, pids: [] });
    return tunnels;
  }

  async #plain(): Promise<Tunnel> {
    const ends = [
      new Lametun(this.server, ['-listen', '--address', '10.8.0.1/24', '--mtu', `${MTU}`]),
      new Lametun(this.client, ['-server', OUTER.server, '--address', '10.8.0.2/24', '--mtu', `${MTU}`]),
    ];
    await Promise.all(ends.map((end) => end.ready()));
    await this.#answer('lametun', '10.8.0.1');
    return { name: 'lametun (plain)', address: '10.8.0.1', pids: ends.map(({ pid }) => pid) };
  }

  /** The original program of the post, whose packets are four bytes longer than ours. */
  async #original(program: string): Promise<Tunnel> {
    const start = (host: Namespace, address: string, args: readonly string[]): number => {
      host.ip([
        'tuntap add dev go0 mode tun',
        `address add ${address}/24 dev go0`,
        `link set go0 mtu ${MTU} up`,
      ]);
      // It prints two lines for each packet, which here nobody reads.
      return host.spawn(program, ['-device', 'go0', '-port', '1235', ...args], { stdio: 'ignore' }).pid!;
    };
    const pids = [
      start(this.server, '10.6.0.1', ['-listen']),
      start(this.client, '10.6.0.2', ['-server', OUTER.server]),
    ];
    await this.#answer('the Go original', '10.6.0.1');
    return { name: 'Go original', address: '10.6.0.1', pids };
  }

  #answer(name: string, address: string): Promise<true> {
    return until(`${name} to answer a ping`, async () => (await ping(this.client, address)).received === 1);
  }
}

export const interfaceText = (privateKey: string, port: number): string =>
  `[Interface]\nPrivateKey = ${privateKey}\nListenPort = ${port}\n`;

export const peerText = (publicKey: string, allowedIps: readonly string[], endpoint?: string): string =>
  `[Peer]\nPublicKey = ${publicKey}\nAllowedIPs = ${allowedIps.join(', ')}\n${endpoint === undefined ? '' : `Endpoint = ${endpoint}\n`}`;

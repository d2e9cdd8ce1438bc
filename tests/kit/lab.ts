import type { TestContext } from 'node:test';
import { ADDRESS, OFFICE_LAN, Topology, type TopologyOptions } from '../../src/demo/topology.js';
import type { Namespace } from '../../src/linux/process/namespace.js';
import { Lametun, type LametunOptions } from './lametun.js';
import { serveTransfers } from './traffic.js';

/** The addresses inside the tunnel. */
export const INNER = {
  office: { v4: '10.0.0.1', v6: 'fd00:10::1' },
  /** The addresses of a home's laptop, by the home's number. */
  home: (index: number) => ({ v4: `10.0.0.${index + 2}`, v6: `fd00:10::${index + 2}` }),
} as const;

/** The addresses of an office's tunnel, as options. */
export const OFFICE_ADDRESSES = ['--address', `${INNER.office.v4}/24`, '--address', `${INNER.office.v6}/64`];

let labs = 0;

/** Homes, an internet and an office, with the programs that run in them. The end of the test removes them. */
export class Lab {
  readonly net: Topology;
  readonly #stops: (() => void)[] = [];

  /** Builds the networks. Nothing runs in them yet. */
  constructor(t: Pick<TestContext, 'after'>, options: Omit<TopologyOptions, 'prefix'> = {}) {
    this.net = Topology.build({ ...options, prefix: `t${process.pid.toString(36)}${labs++}-` });
    t.after(() => {
      for (const stop of this.#stops) stop();
      this.net.remove();
    });
  }

  /** Starts a `lametun` on a host. */
  lametun(host: Namespace, args: readonly string[], options?: LametunOptions): Lametun {
    const tunnel = new Lametun(host, args, options);
    this.#stops.push(() => void tunnel.stop('SIGKILL'));
    return tunnel;
  }

  /** Starts the office's tunnel on its gateway, with the office's network behind it, and waits until it is ready. */
  async office(...more: readonly string[]): Promise<Lametun> {
    return this.lametun(this.net.gateway, ['-listen', ...OFFICE_ADDRESSES, '--forward', ...more]).ready();
  }

  /** Starts a home's tunnel on its laptop, and waits until it is ready. */
  async home(index = 0, server: string = ADDRESS.office.v4, ...more: readonly string[]): Promise<Lametun> {
    return this.lametun(this.net.homes[index]!.laptop, this.homeArguments(index, server, ...more)).ready();
  }

  homeArguments(index = 0, server: string = ADDRESS.office.v4, ...more: readonly string[]): string[] {
    const { v4, v6 } = INNER.home(index);
    return [
      ...['-server', server, '--address', `${v4}/24`, '--address', `${v6}/64`],
      ...['--route', OFFICE_LAN.v4, '--route', OFFICE_LAN.v6, ...more],
    ];
  }

  /** Starts a server for `transfer` on a host. */
  async serve(host: Namespace = this.net.server): Promise<void> {
    const { stop } = await serveTransfers(host);
    this.#stops.push(stop);
  }
}

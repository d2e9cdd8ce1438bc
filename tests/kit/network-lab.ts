import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { connect, Namespace } from '../../src/linux/process/namespace.js';
import type { NodeStatus } from '../../src/node/control/control.js';
import { askControl } from '../../src/node/control/control-client.js';
import { MAIN } from './lametun.js';
import { Running } from './running.js';
import { until } from './wait.js';

/** How a site is connected to the internet. */
export interface SiteOptions {
  /**
   * `public`: the machine has a public address; `firewall`: the same, but only answers come in. The others are behind a
   * NAT: `easy` keeps the port where it can and uses it for all destinations, `hard` takes a random port for each, and
   * `plain` is `easy` without a filter, which is Linux with only a masquerade rule.
   */
  readonly access?: 'public' | 'firewall' | 'easy' | 'hard' | 'plain';
  /** What the router blocks: all UDP, or everything but TCP to port 443. */
  readonly blocked?: 'udp' | 'all-but-443';
  readonly families?: 'both' | 'ipv4' | 'ipv6';
  /** A smaller MTU of its line to the internet, bytes. ICMP is filtered, so nobody learns of it. */
  readonly narrow?: number;
  /** X of the private network 192.168.X.0/24. Many homes use the same one. */
  readonly lan?: number;
  /** The machine is the gateway, with a host behind it that does not run lametun. Not with `public`. */
  readonly gateway?: boolean;
}

export interface Site {
  /** Where lametun runs. */
  readonly machine: Machine;
  /** The router between it and the internet, or the machine itself when it is the gateway. */
  readonly router: Namespace | undefined;
  /** The host behind a gateway. */
  readonly host: Machine | undefined;
  /** The site's public addresses. */
  readonly public4: string;
  readonly public6: string;
}

let labs = 0;

/** An internet of documentation addresses with sites around it. The end of the test stops and removes everything. */
export class NetworkLab {
  readonly internet: Namespace;
  readonly #prefix = `n${process.pid.toString(36)}${labs++}-`;
  readonly #folder = mkdtempSync(join(tmpdir(), 'lametun-net-'));
  readonly #namespaces: Namespace[] = [];
  readonly #machines: Machine[] = [];
  #sites = 0;

  constructor(t: Pick<TestContext, 'after'>) {
    this.internet = this.#namespace('internet');
    this.internet.sysctl(FORWARDS);
    t.after(async () => {
      await Promise.all(this.#machines.map((machine) => machine.stopAll()));
      for (const namespace of this.#namespaces) {
        killAll(namespace);
        namespace.remove();
        rmSync(`/etc/netns/${namespace.name}`, { recursive: true, force: true });
      }
      rmSync(this.#folder, { recursive: true, force: true });
    });
  }

  site(
    name: string,
    { access = 'public', blocked, families = 'both', narrow, lan = 1, gateway = false }: SiteOptions = {},
  ): Site {
    const number = this.#sites++;
    const machine = this.#machine(name);
    const isEdge = access === 'public' || access === 'firewall';
    const inner = gateway && !isEdge ? this.#machine(`${name}-host`) : undefined;
    const router = gateway || isEdge ? undefined : this.#namespace(`${name}-router`);
    const edge = router ?? machine.namespace;
    const ends = wan(number, families);
    connect(
      { namespace: this.internet, device: `site${number}`, addresses: ends.internet },
      { namespace: edge, device: 'wan', addresses: ends.site, routes: ends.routes },
      narrow,
    );
    if (narrow !== undefined)
      for (const end of [this.internet, edge]) end.run('nft', ['-f', '-'], { input: MUTE });
    if (!isEdge) {
      const behind = (inner ?? machine).namespace;
      const cable = lanCable(lan, families);
      edge.sysctl(FORWARDS);
      connect(
        { namespace: edge, device: 'lan', addresses: cable.router },
        { namespace: behind, device: 'eth0', addresses: cable.host, routes: cable.routes },
      );
      edge.run('nft', ['-f', '-'], { input: routerRules(access, blocked) });
    } else {
      edge.run('nft', ['-f', '-'], { input: hostRules(access === 'firewall', blocked) });
    }
    return {
      machine,
      router: router ?? (gateway ? machine.namespace : undefined),
      host: inner,
      public4: `198.51.100.${16 * number + 7}`,
      public6: `2001:db8:51:${number}::7`,
    };
  }

  #namespace(name: string): Namespace {
    const namespace = Namespace.create(`${this.#prefix}${name}`);
    this.#namespaces.push(namespace);
    mkdirSync(`/etc/netns/${namespace.name}`, { recursive: true });
    writeFileSync(`/etc/netns/${namespace.name}/resolv.conf`, RESOLV_CONF);
    return namespace;
  }

  #machine(name: string): Machine {
    const machine = new Machine(name, this.#namespace(name), join(this.#folder, name));
    this.#machines.push(machine);
    return machine;
  }
}

/** Kills processes left in the background. */
function killAll(namespace: Namespace): void {
  for (const pid of namespace.run('ip', ['netns', 'pids', namespace.name]).split('\n')) {
    try {
      if (pid !== '') process.kill(Number(pid), 'SIGKILL');
    } catch {} // it has just ended, like `ip` itself, which lists itself
  }
}

/** Nothing answers at this address. The file must be the same again after lametun has stopped. */
export const RESOLV_CONF = '# of the lab\nnameserver 192.0.2.53\noptions timeout:1 attempts:1\n';

export interface Outcome {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** A host with a state directory of its own. Its /etc/resolv.conf is `/etc/netns/NAMESPACE/resolv.conf`. */
export class Machine {
  readonly name: string;
  readonly namespace: Namespace;
  readonly state: string;
  readonly #running = new Set<Running>();

  constructor(name: string, namespace: Namespace, state: string) {
    this.name = name;
    this.namespace = namespace;
    this.state = state;
  }

  get resolvConf(): string {
    return `/etc/netns/${this.namespace.name}/resolv.conf`;
  }

  /** Starts `lametun ARGS --state ...`. The end of the test stops it. */
  start(...args: readonly string[]): Running {
    const running = new Running(
      this.namespace.spawn(process.execPath, [MAIN, ...args, '--state', this.state], {
        stdio: ['ignore', 'pipe', 'pipe'],
      }),
      `${this.name}: lametun ${args[0]}`,
    );
    this.#running.add(running);
    return running;
  }

  /** Runs `lametun ARGS --state ...` until it ends. */
  lametun(...args: readonly string[]): Outcome {
    return this.run(process.execPath, MAIN, ...args, '--state', this.state);
  }

  run(command: string, ...args: readonly string[]): Outcome {
    const { status, stdout, stderr } = spawnSync(
      'ip',
      ['netns', 'exec', this.namespace.name, command, ...args],
      { encoding: 'utf8', timeout: 120_000 },
    );
    return { status, stdout, stderr };
  }

  /** Whether ping(8) gets an answer within `seconds`. */
  pings(target: string, seconds = 1, ...options: readonly string[]): boolean {
    return this.run('ping', '-c1', `-w${seconds}`, ...options, target).status === 0;
  }

  /** Waits for an answer to a ping. An idle machine gets it at once. */
  async reaches(target: string, ...options: readonly string[]): Promise<void> {
    const within = 15_000;
    await until(`${target} to answer ${this.name}`, () => this.pings(target, 1, ...options), within);
  }

  /** The output of `lametun status --json`, without starting a process. */
  async status(): Promise<NodeStatus> {
    let status: NodeStatus | undefined;
    await askControl<'status'>(this.state, { command: 'status' }, (answer) => {
      status = answer;
    });
    return status!;
  }

  /** Starts any program. The end of the test stops it. */
  spawn(command: string, ...args: readonly string[]): Running {
    const child = this.namespace.spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'] });
    const running = new Running(child, `${this.name}: ${command}`);
    this.#running.add(running);
    return running;
  }

  async stopAll(): Promise<void> {
    await Promise.all([...this.#running].map((running) => running.stop('SIGKILL')));
  }
}

const hasIpv6 = (): boolean => existsSync('/proc/sys/net/ipv6');

function wan(number: number, families: 'both' | 'ipv4' | 'ipv6') {
  const ipv4 = families !== 'ipv6';
  const ipv6 = families !== 'ipv4' && hasIpv6();
  const base = 16 * number;
  return {
    internet: [
      ...(ipv4 ? [`198.51.100.${base + 1}/28`] : []),
      ...(ipv6 ? [`2001:db8:51:${number}::1/64`] : []),
    ],
    site: [...(ipv4 ? [`198.51.100.${base + 7}/28`] : []), ...(ipv6 ? [`2001:db8:51:${number}::7/64`] : [])],
    routes: [
      ...(ipv4 ? [{ to: 'default', via: `198.51.100.${base + 1}` }] : []),
      ...(ipv6 ? [{ to: 'default', via: `2001:db8:51:${number}::1` }] : []),
    ],
  };
}

function lanCable(lan: number, families: 'both' | 'ipv4' | 'ipv6') {
  const ipv4 = families !== 'ipv6';
  const ipv6 = families !== 'ipv4' && hasIpv6();
  const at = (host: number): string[] => [
    ...(ipv4 ? [`192.168.${lan}.${host}/24`] : []),
    ...(ipv6 ? [`fd00:192:168:${lan}::${host}/64`] : []),
  ];
  return {
    router: at(1),
    host: at(23),
    routes: [
      ...(ipv4 ? [{ to: 'default', via: `192.168.${lan}.1` }] : []),
      ...(ipv6 ? [{ to: 'default', via: `fd00:192:168:${lan}::1` }] : []),
    ],
  };
}

const FORWARDS: Readonly<Record<string, number>> = {
  'net.ipv4.ip_forward': 1,
  'net.ipv4.conf.all.rp_filter': 0,
  'net.ipv4.conf.default.rp_filter': 0,
  ...(hasIpv6() ? { 'net.ipv6.conf.all.forwarding': 1 } : {}),
};

/** Sends no ICMP about packets that are too big. */
const MUTE = `table inet mute {
    chain output {
      type filter hook output priority filter;
      icmp type destination-unreachable drop
      icmpv6 type packet-too-big drop
    }
  }\n`;

const BLOCKS = {
  udp: 'meta l4proto udp drop',
  'all-but-443': 'meta l4proto tcp tcp dport 443 accept; meta l4proto { icmp, ipv6-icmp } accept; drop',
} as const;

/** Drops strangers' packets to the router, as home routers do. Otherwise conntrack would give their ports away. */
function routerRules(access: 'easy' | 'hard' | 'plain', blocked: keyof typeof BLOCKS | undefined): string {
  const nat = `chain postrouting {
      type nat hook postrouting priority srcnat;
      oifname "wan" masquerade${access === 'hard' ? ' fully-random' : ''}
    }`;
  if (access === 'plain') return `table inet router {\n${nat}\n}\n`;
  return `table inet router {
    ${nat}
    chain input {
      type filter hook input priority filter;
      iifname "wan" ct state new meta l4proto { tcp, udp } drop
    }
    chain forward {
      type filter hook forward priority filter;
      ct state established,related accept
      ${blocked === undefined ? '' : `oifname "wan" jump blocked`}
      iifname "wan" drop
    }
    ${blocked === undefined ? '' : `chain blocked { ${BLOCKS[blocked]}; }`}
    ${blocked === undefined ? '' : hostChains(blocked)}
  }`;
}

const hostRules = (firewall: boolean, blocked: keyof typeof BLOCKS | undefined): string => `
  table inet host {
    ${firewall ? FIREWALL : ''}
    ${blocked === undefined ? '' : hostChains(blocked)}
  }`;

const FIREWALL = `chain input {
      type filter hook input priority filter;
      iifname "wan" ct state new meta l4proto { tcp, udp } drop
    }`;

/** Blocks what a machine at the edge sends itself. */
const hostChains = (blocked: keyof typeof BLOCKS): string => `
    chain output_blocked {
      type filter hook output priority filter;
      oifname != "wan" accept
      ct state established,related accept
      ${BLOCKS[blocked]}
    }`;

import { usage } from '../errors.js';
import { parseAddress } from '../ip/address.js';
import { type Cidr, networkOf, parseCidr } from '../ip/cidr.js';
import { checkDeviceName } from '../linux/net/link.js';
import type { PlainOptions } from '../plain/run.js';
import { leastMtu, MAX_MTU } from '../plain/wire.js';
import { OFFLOADS_VARIABLE, type Offload, parseOffloads } from '../tunnel/offloads.js';
import { type FlagValues, parseGoFlags } from './go-flags.js';

/** The flags of the post's program, then those for what its reader had to do by hand. */
export const PLAIN_FLAGS = {
  listen: { type: 'bool', help: 'be the server, and wait for clients' },
  server: { type: 'string', value: 'HOST', help: 'connect to this server: a name or an address' },
  port: { type: 'int', value: 'N', help: 'set the UDP port of both sides (default 1234)' },
  device: { type: 'string', value: 'NAME', help: 'use this TUN device (default tun0)' },
  address: {
    type: 'strings',
    value: 'CIDR',
    help: "set the device's address, such as 10.0.0.1/24; repeatable",
  },
  mtu: {
    type: 'int',
    value: 'BYTES',
    help: "set the device's MTU (default with -address: what fits the path)",
  },
  route: {
    type: 'strings',
    value: 'CIDR',
    help: 'send packets for this network through the tunnel; repeatable',
  },
  forward: { type: 'bool', help: 'let the other side reach networks of this machine (NAT with nftables)' },
  peer: { type: 'strings', value: 'IP', help: 'accept only this address, with -listen; repeatable' },
  verbose: { type: 'bool', help: 'print a line for each packet' },
  json: { type: 'bool', help: 'print events as JSON, one per line' },
  help: { type: 'bool', help: 'print this help' },
  version: { type: 'bool', help: 'print the version' },
} as const;

export type PlainFlags = FlagValues<typeof PLAIN_FLAGS>;

export const parsePlainFlags = (args: readonly string[]): PlainFlags =>
  parseGoFlags(
    PLAIN_FLAGS,
    args.map((arg) => (arg === '-h' || arg === '--h' ? '-help' : arg)),
  );

/** The usage text, in two columns. */
export function plainUsage(): string {
  const rows = Object.entries(PLAIN_FLAGS).map(([name, spec]) => {
    const flag = `-${name}${'value' in spec ? ` ${spec.value}` : ''}`;
    return `  ${flag.padEnd(16)}${spec.help}`;
  });
  return [
    'usage: lametun -listen [options]',
    '       lametun -server HOST [options]',
    '       lametun demo              show how it works, on this machine alone',
    '',
    ...rows,
  ].join('\n');
}

/**
 * Checks the flags.
 *
 * @throws LametunError `usage`
 */
export function plainOptions(flags: PlainFlags): PlainOptions {
  const listen = flags.listen ?? false;
  const server = flags.server ?? '';
  if (listen && server !== '') throw usage('-listen and -server contradict each other: give one of them');
  if (!listen && server === '') throw usage('no role given: pass -listen, or -server HOST');
  if (!listen && flags.peer !== undefined) {
    throw usage('-peer needs -listen: a client only accepts packets from its server');
  }
  const device = flags.device ?? 'tun0';
  checkDeviceName(device);
  const addresses = (flags.address ?? []).map((text) => cidr('-address', text, '10.0.0.1/24'));
  const routes = (flags.route ?? []).map((text) => {
    const route = cidr('-route', text, '192.168.50.0/24');
    const network = networkOf(route);
    if (route.address.every((byte, i) => byte === network.address[i])) return route;
    throw usage(`-route "${text}" has host bits set: write the network's address, such as 192.168.50.0/24`);
  });
  return {
    server,
    peers: (flags.peer ?? []).map((text) => {
      const address = parseAddress(text);
      if (address === undefined) throw usage(`-peer "${text}" is not an IP address: write it as 203.0.113.7`);
      return address;
    }),
    port: inRange('-port', flags.port ?? 1234, 1, 65_535),
    device,
    addresses,
    ...(flags.mtu !== undefined && {
      mtu: inRange('-mtu', flags.mtu, leastMtu([...addresses, ...routes]), MAX_MTU),
    }),
    routes,
    forward: flags.forward ?? false,
    logPackets: flags.verbose ?? false,
    limits: limitsOf(parseOffloads(process.env[OFFLOADS_VARIABLE])),
  };
}

/** From the same variable as for `lametund`; this tunnel has no AEAD. */
const limitsOf = (offloads: readonly Offload[]): PlainOptions['limits'] => ({
  tunTcp: offloads.includes('tun-tcp'),
  tunUdp: offloads.includes('tun-udp'),
  send: offloads.includes('send'),
  receive: offloads.includes('receive'),
  simd: offloads.includes('simd'),
});

function cidr(flag: string, text: string, example: string): Cidr {
  const parsed = parseCidr(text);
  if (parsed === undefined) throw usage(`${flag} "${text}" is not ADDRESS/PREFIX: write it as ${example}`);
  return parsed;
}

function inRange(flag: string, value: number, least: number, most: number): number {
  if (value >= least && value <= most) return value;
  throw usage(`${flag} ${value} is out of range: give ${least} to ${most}`);
}

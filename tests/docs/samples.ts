import { readFileSync } from 'node:fs';
import { approveText } from '../../src/cli/network/admin-text.js';
import { firstLines } from '../../src/cli/network/changes.js';
import { startText } from '../../src/cli/network/start-text.js';
import { pingText, statusText } from '../../src/cli/network/status-text.js';
import { plainUsage } from '../../src/cli/plain-options.js';
import type { NodeStatus, PathStatus, PeerStatus } from '../../src/node/control/control.js';
import { formatToken } from '../../src/protocol/token.js';
import type { Blocks } from '../wire/blocks.js';

/*
 * The program's output in the README and in docs/, made by the functions that print it. The scene: `office` runs
 * `lametun serve`, `home` joins, and `phone` is behind a NAT and reachable only through the relay.
 */

const NOW = Date.UTC(2026, 10, 30);
const SECOND = 1000;
const DAY = 86_400 * SECOND;

const network: NodeStatus['network'] = {
  ...{ id: 'home', name: 'home', ipv4: '10.234.0.0/15', ipv6: 'fdff:96d2:ecd1::/64', mtu: 1280 },
};

const addressesOf = (id: number): { readonly ipv4: string; readonly ipv6: string } => ({
  ...{ ipv4: `10.234.0.${id}`, ipv6: `fdff:96d2:ecd1::${id}` },
});

const PUBLIC = { host: '203.0.113.5', port: 443, tls: false };
const TOKEN = formatToken({
  hub: Uint8Array.from({ length: 32 }, (_, i) => 7 * i + 1),
  secret: Uint8Array.from({ length: 16 }, (_, i) => 11 * i + 5),
  addresses: [PUBLIC, { host: '192.168.50.1', port: 443, tls: false }],
});

function node(id: number, name: string, port: number): NodeStatus {
  return {
    network,
    self: {
      ...{ id, name, fullName: `${name}.home.lametun`, ...addressesOf(id), key: '' },
      ...{ admin: false, pending: false, interface: 'lametun0', port },
    },
    hub: { state: 'connected', address: '203.0.113.5:443', since: NOW - 23 * SECOND },
    relay: { via: 'udp', why: '', since: NOW },
    ...{ peers: [], shares: [], names: { how: 'resolv.conf' }, warnings: [] },
  };
}

const OFFICE = node(1, 'office', 44316);
const HOME = node(2, 'home', 50596);

const direct = (rttMs: number): PathStatus => ({
  ...{ kind: 'direct', endpoint: '203.0.113.5:44316', why: '', rttMs, since: NOW },
});

const officePeer: PeerStatus = {
  ...{ id: 1, name: 'office', ...addressesOf(1), key: '', shares: ['192.168.50.0/24'], path: direct(6.3) },
  ...{ lastHandshake: NOW - 15 * SECOND, received: 604, sent: 692 },
};
const phonePeer: PeerStatus = {
  ...{ id: 3, name: 'phone', ...addressesOf(3), key: '', shares: [] },
  path: { kind: 'relayed', why: 'no answer from 10.9.0.23:60602', rttMs: 54, since: NOW },
  ...{ lastHandshake: NOW - 4 * SECOND, received: 1480, sent: 1210 },
};

function serve(): string {
  const invitation = {
    ...{ token: TOKEN, invite: '782a7f96', expiresAt: NOW + DAY, maxUses: 1, warnings: [] },
    addresses: ['203.0.113.5:443', '192.168.50.1:443'],
  };
  const hub = { network: 'home', port: 443, outside: [], invitation };
  return typed('sudo lametun serve --name office', startText(hub, OFFICE, NOW));
}

function join(): string {
  const status = { ...HOME, peers: [{ ...officePeer, shares: [], path: direct(6.3) }] };
  const lines = [startText(undefined, status, NOW), ...firstLines(status, false)];
  return typed(`sudo lametun join ${TOKEN} --name home`, lines.join('\n'));
}

function ping(): string {
  const answers = [3.6, 2.1].map((rttMs, i) =>
    pingText({ node: 'office', address: OFFICE.self.ipv4!, sequence: i + 1, rttMs, path: direct(rttMs) }),
  );
  return typed('sudo lametun ping -c 2 office', answers.join('\n'));
}

function status(): string {
  const shown: NodeStatus = {
    ...HOME,
    peers: [officePeer, phonePeer],
    shares: [{ network: '192.168.1.0/24', state: 'approved' }],
  };
  return typed('sudo lametun status', statusText(shown, NOW, undefined));
}

const approve = (): string =>
  typed(
    'sudo lametun approve home',
    approveText({ name: 'home', shares: [{ network: '192.168.1.0/24', state: 'approved' }] }),
  );

/** The packet that the renderer's test draws. */
const packet = (): string => readFileSync('src/demo/packet.golden.txt', 'utf8').trimEnd();

const typed = (command: string, output: string): string => `$ ${command}\n${output}`;

/** The text between `<!-- sample: NAME -->` and `<!-- end -->`, by document and name. */
export const SAMPLES: Readonly<Record<string, () => Blocks>> = {
  'README.md': () => ({ serve: serve(), join: join(), ping: ping(), packet: packet() }),
  'docs/NETWORKS.md': () => ({ status: status(), approve: approve() }),
  'docs/PLAIN.md': () => ({ usage: typed('lametun -help', plainUsage()) }),
};

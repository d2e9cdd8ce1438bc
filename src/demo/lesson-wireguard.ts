import { generateKeyPairSync } from 'node:crypto';
import { connect } from 'node:net';
import { text as readText } from 'node:stream/consumers';
import { LametunError } from '../errors.js';
import { IPV4 } from '../ip/packet.js';
import type { Namespace } from '../linux/process/namespace.js';
import { commandFor } from '../self.js';
import type { Seen } from './capture.js';
import { INNER, type Stage } from './stage.js';
import { ADDRESS, OFFICE_LAN } from './topology.js';

const PORT = 51_820;
/** The two ends have one /run, so their configuration sockets need different names. */
const DEVICE = { laptop: 'wg-office', gateway: 'wg-home' } as const;

/** Transport data with its IPv4 and UDP headers, [W] 5.4.6: 16 bytes before the packet, a tag of 16 after it. */
const TYPE_AT = 20 + 8;
const TRANSPORT_DATA = 4;
const WRAPPING = TYPE_AT + 16 + 16;
const PADDED_TO = 16;

/** Reads the page again, through WireGuard, and shows what an observer captures. */
export async function encrypt(stage: Stage, request: Uint8Array): Promise<void> {
  const { laptop, gateway } = stage.topology;
  await stage.scene('wireguard', 'The same request, encrypted');
  await stage.text("`lametund` speaks WireGuard. Each end knows the other's public key:");
  const [own, office] = [generateKeys(), generateKeys()];
  const endpoint = `${ADDRESS.office.v4}:${PORT}`;
  await startDevice(stage, 'laptop', [
    `private_key=${own.private}`,
    `public_key=${office.public}`,
    `endpoint=${endpoint}`,
    `allowed_ip=${OFFICE_LAN.v4}`,
  ]);
  await startDevice(stage, 'gateway', [
    `private_key=${office.private}`,
    `listen_port=${PORT}`,
    `public_key=${own.public}`,
    `allowed_ip=${INNER.laptop}/32`,
  ]);
  await stage.table(
    ['peer of', 'public key', 'endpoint', 'allowed IPs'],
    [
      ['laptop', short(office.public), endpoint, OFFICE_LAN.v4],
      ['gateway', short(own.public), 'none yet', `${INNER.laptop}/32`],
    ],
  );
  bringUp(laptop, DEVICE.laptop, INNER.laptop, OFFICE_LAN.v4);
  bringUp(gateway, DEVICE.gateway, INNER.gateway, `${INNER.laptop}/32`);
  gateway.sysctl({ 'net.ipv4.ip_forward': 1 });
  stage.capture.take();
  await stage.text('The laptop reads the page again:');
  await stage.output(await stage.fetchPage());
  const length = Math.ceil(request.length / PADDED_TO) * PADDED_TO + WRAPPING;
  const datagram = stage.find(
    stage.capture.take(),
    'the encrypted request on the internet',
    ({ station, packet }: Seen) =>
      station === 'internet' &&
      packet.length === length &&
      packet[IPV4.protocol] === 17 &&
      packet[TYPE_AT] === TRANSPORT_DATA,
  );
  await stage.bytes('the internet: the request in WireGuard', datagram);
  await stage.text(
    'The observer still sees who talks to whom, when and how much. Only a holder of the keys can read or write the ' +
      'rest.',
  );
}

async function startDevice(
  stage: Stage,
  host: 'laptop' | 'gateway',
  settings: readonly string[],
): Promise<void> {
  const device = DEVICE[host];
  await stage.command(host, `lametund ${device}`);
  const [path, ...first] = commandFor('cli/lametund');
  stage.topology[host].run(path, [...first, device]);
  const socket = connect(`/var/run/wireguard/${device}.sock`);
  socket.end(`set=1\n${settings.join('\n')}\n\n`);
  const answer = await readText(socket);
  if (answer.trim() !== 'errno=0')
    throw new LametunError('linux', `${device} refused its settings: ${answer}`);
}

function bringUp(host: Namespace, device: string, address: string, route: string): void {
  host.ip([
    `address add ${address}/32 dev ${device}`,
    `link set ${device} up`,
    `route add ${route} dev ${device}`,
  ]);
}

/** An X25519 key pair, in hexadecimal for the configuration socket. */
function generateKeys(): { readonly private: string; readonly public: string } {
  const { d = '', x = '' } = generateKeyPairSync('x25519').privateKey.export({ format: 'jwk' });
  const hex = (key: string): string => Buffer.from(key, 'base64url').toString('hex');
  return { private: hex(d), public: hex(x) };
}

/** The beginning of a key, as `wg` shows keys. */
const short = (hex: string): string => `${Buffer.from(hex, 'hex').toString('base64').slice(0, 10)}...`;

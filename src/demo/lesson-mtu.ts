import { IPV4 } from '../ip/packet.js';
import type { Namespace } from '../linux/process/namespace.js';
import { ETHERTYPE } from '../linux/tun/tun.js';
import type { Stage } from './stage.js';
import { ADDRESS } from './topology.js';

/** The MTU of tun0 at both ends, and how many bytes ping sends: the post's numbers, and ours. */
const TRIALS = [
  { mtu: 1500, size: 1440 },
  { mtu: 1500, size: 1441 },
  { mtu: 1472, size: 1444 },
  { mtu: 1468, size: 1440 },
  { mtu: 1468, size: 1441 },
] as const;

/** The headers of a ping: ICMP 8, IPv4 20. The tunnel adds 4, UDP 8, IPv4 20. */
const INSIDE = 8 + 20;
const WRAPPING = 4 + 8 + 20;
/** Where the packet information has the EtherType of the inner packet. */
const INNER_PROTOCOL = 20 + 8 + 2;

/** Shows what happens when the tunnel's MTU is too large. */
export async function measureMtu(stage: Stage): Promise<void> {
  const { laptop, gateway } = stage.topology;
  await stage.scene('mtu', 'The MTU');
  await stage.text(
    `A cable carries packets of at most 1500 bytes: its *MTU*. The tunnel adds ${WRAPPING}: IPv4 20, UDP 8, packet ` +
      'information 4.',
  );
  const rows: string[][] = [];
  let refused = '';
  for (const { mtu, size } of TRIALS) {
    for (const host of [laptop, gateway]) host.ip([`link set tun0 mtu ${mtu}`]);
    const { said, packets } = await tryPing(stage, laptop, size);
    const error = /ping: (?:local error: )?(.*)/.exec(said)?.[0];
    if (packets.length === 0 && error !== undefined) refused = error;
    rows.push([`${mtu}`, `${size}`, `${size + INSIDE}`, outcome(packets)]);
  }
  await stage.table(['MTU of tun0', 'ping -s', 'packet in tun0', 'on the home LAN'], rows);
  await stage.text(
    'One byte too many makes *two fragments* of each packet. The post sets 1472 and forgets the 4 bytes. `lametun` ' +
      'sets 1468. Then the kernel refuses larger packets and tells the sender:',
  );
  await stage.output(refused);
}

async function tryPing(
  stage: Stage,
  laptop: Namespace,
  size: number,
): Promise<{ said: string; packets: Uint8Array[] }> {
  stage.capture.take();
  // -M do forbids fragments of the inner packet, not of the outer one.
  const words = `ping -c 1 -W 5 -M do -s ${size} ${ADDRESS.server.v4}`;
  const said = await stage.quietly(laptop, words.split(' '));
  const packets = stage.capture
    .take()
    .filter(({ station, outgoing }) => station === 'home-lan' && outgoing)
    .map(({ packet }) => packet)
    .filter((packet) => packet[IPV4.protocol] === 17 && !isKernelsOwn(packet));
  return { said, packets };
}

/** Whether a datagram of the tunnel holds one of the kernel's own packets: router solicitations, by IPv6. */
function isKernelsOwn(packet: Uint8Array): boolean {
  const view = new DataView(packet.buffer, packet.byteOffset, packet.length);
  const isBeginning = (view.getUint16(IPV4.fragment) & 0x1fff) === 0;
  return isBeginning && view.getUint16(INNER_PROTOCOL) === ETHERTYPE.ipv6;
}

function outcome(packets: readonly Uint8Array[]): string {
  if (packets.length === 0) return 'nothing: refused';
  const lengths = packets.map((packet) => packet.length).join(' + ');
  if (packets.length === 1) return `1 datagram of ${lengths} bytes`;
  return `*${packets.length} fragments* of ${lengths} bytes`;
}

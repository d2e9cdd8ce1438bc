import type { Seen, Station } from './capture.js';
import { dissect, type Layer } from './dissect.js';
import { toHex } from './events.js';
import type { Stage } from './stage.js';

/** One ping at each station. */
export type Stations = Readonly<Record<'laptop' | 'home' | 'internet' | 'gateway' | 'office', Uint8Array>>;

/** Follows one ping from where it enters the tunnel to the server. */
export async function showStations(stage: Stage, seen: readonly Seen[]): Promise<Stations> {
  await stage.scene('stations', 'The same packet at each station');
  const stations = followPing(stage, seen);
  const { laptop, home, internet, gateway, office } = stations;
  const from = dissect(home);
  const to = dissect(internet);
  const isSame = Buffer.compare(laptop, gateway) === 0;
  const rows: readonly (readonly [place: string, packet: Uint8Array, remark: string, before?: Uint8Array])[] =
    [
      [
        'laptop, tun0: as the kernel hands it to lametun',
        laptop,
        'Its addresses are private. The internet would refuse it.',
      ],
      [
        'home LAN: inside a UDP datagram to the office',
        home,
        'Four bytes go before it, then UDP and IPv4 around it.',
      ],
      [
        'the internet: after the NAT of the home router',
        internet,
        `The NAT changed the sender: \`${sender(from[0])}\`, \`${sender(from[1])}\` became ` +
          `\`${sender(to[0])}\`, \`${sender(to[1])}\`. The TTL is one less. Inside, nothing changed.`,
        home,
      ],
      [
        'office gateway, tun0: as lametun hands it to the kernel',
        gateway,
        isSame
          ? 'It is, byte for byte, the packet of station 1.'
          : 'Compare it with the packet of station 1.',
        laptop,
      ],
      [
        'office LAN: on the last cable to the server',
        office,
        "`--forward` put the gateway's address in place of the sender, so the server can answer.",
        gateway,
      ],
    ];
  for (const [i, [place, packet, remark, before]] of rows.entries())
    await stage.packet(place, packet, {
      ...{ station: i + 1, remarks: [remark] },
      ...(before && { before: toHex(before) }),
    });
  return stations;
}

/** Finds the second ping of a series at each station. The first one may have waited for ARP. */
function followPing(stage: Stage, seen: readonly Seen[]): Stations {
  const requests = seen.filter(({ packet }) => ping(packet)?.layer.title === 'echo request');
  const payloads = [...new Set(requests.map(({ packet }) => ping(packet)!.payload))];
  const payload = payloads[1] ?? payloads[0];
  const at = (station: Station): Uint8Array =>
    stage.find(
      requests,
      `the ping at ${station}`,
      (it) => it.station === station && ping(it.packet)?.payload === payload,
    );
  return {
    laptop: at('laptop-tun0'),
    home: at('home-lan'),
    internet: at('internet'),
    gateway: at('gateway-tun0'),
    office: at('office-lan'),
  };
}

/** The ping in a packet, wrapped or not. The time in its payload makes it unique. */
function ping(packet: Uint8Array): { layer: Layer; payload: string } | undefined {
  const layer = dissect(packet).find(({ name }) => name === 'ICMP');
  return layer === undefined ? undefined : { layer, payload: toHex(packet.subarray(layer.end)) };
}

/**
 * Shows what anyone on the way can read.
 *
 * @returns the request that the laptop sent, as it entered the tunnel
 */
export async function observe(stage: Stage, seen: readonly Seen[]): Promise<Uint8Array> {
  await stage.scene('observer', 'Anyone can read it');
  const isRequest = ({ packet }: Seen): boolean =>
    dissect(packet).some(({ name, title }) => name === 'HTTP' && title.startsWith('GET'));
  const at = (station: Station): Uint8Array =>
    stage.find(seen, `the HTTP request at ${station}`, (it) => it.station === station && isRequest(it));
  await stage.text('This passed on the internet when the laptop read the page:');
  await stage.bytes('the internet: the request in the plain tunnel', at('internet'));
  await stage.text(
    'Every router on the way can read the request, and the cookie in it. A tunnel joins networks. It does not make ' +
      'them *private*.',
  );
  return at('laptop-tun0');
}

const sender = (layer: Layer | undefined): string => layer?.title.split(' → ')[0] ?? '';

import type { Seen, Station } from './capture.js';
import { dissect, type Layer } from './dissect.js';
import { toHex } from './events.js';
import type { Stage } from './stage.js';
import { ADDRESS } from './topology.js';

/** One ping, as it passed each station. */
export type Stations = Readonly<Record<'laptop' | 'home' | 'internet' | 'gateway' | 'office', Uint8Array>>;

/** Follows one ping from where it enters the tunnel to the server. */
export async function showStations(stage: Stage, seen: readonly Seen[]): Promise<Stations> {
  await stage.scene('stations', 'The same packet at each station');
  const stations = followPing(stage, seen);
  const { laptop, home, internet, gateway, office } = stations;
  await stage.show({
    kind: 'packet',
    station: 1,
    place: 'laptop, tun0: as the kernel hands it to lametun',
    bytes: toHex(laptop),
  });
  await stage.text(
    'Its addresses are private ones: on the internet it would get nowhere. `lametun` puts four bytes before ' +
      'it (the *packet information*, as the TUN device gives it) and sends all that as one UDP datagram:',
  );
  await stage.show({
    kind: 'packet',
    station: 2,
    place: 'home LAN: inside a UDP datagram to the office',
    bytes: toHex(home),
  });
  const from = dissect(home);
  const to = dissect(internet);
  await stage.show({
    kind: 'packet',
    station: 3,
    place: 'the internet: after the NAT of the home router',
    bytes: toHex(internet),
    before: toHex(home),
    remarks: [
      `The router changed the sender: \`${sender(from[0])}\`, ${portOf(from[1])} became \`${sender(to[0])}\`, ` +
        `${portOf(to[1])}. One hop more makes the TTL one less, and both checksums follow. The packet ` +
        `inside is the same ${laptop.length} bytes.`,
    ],
  });
  await stage.show({
    kind: 'packet',
    station: 4,
    place: 'office gateway, tun0: as lametun hands it to the kernel',
    bytes: toHex(gateway),
    before: toHex(laptop),
    remarks: [
      `${same(laptop, gateway) ? 'Nothing is marked: it is, byte for byte, what' : 'Compare it with what'} ` +
        'entered the other `tun0` at station 1. The tunnel is gone without a trace.',
    ],
  });
  await stage.show({
    kind: 'packet',
    station: 5,
    place: 'office LAN: on the last cable to the server',
    bytes: toHex(office),
    before: toHex(gateway),
    remarks: [
      `\`--forward\` let it through, with the gateway's address \`${ADDRESS.gateway.v4}\` as its sender: so the ` +
        'server can answer without a route to `10.0.0.2`.',
    ],
  });
  return stations;
}

/** Finds the second ping of a series at each station. The first one may have been waiting for ARP. */
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

/** The ping in a packet, wrapped or not. Its payload carries the time it was sent: that makes it unique. */
function ping(packet: Uint8Array): { layer: Layer; payload: string } | undefined {
  const layer = dissect(packet).find(({ name }) => name === 'ICMP');
  return layer === undefined ? undefined : { layer, payload: toHex(packet.subarray(layer.end)) };
}

/** Shows what anybody on the way can read. */
export async function observe(stage: Stage, seen: readonly Seen[]): Promise<void> {
  await stage.scene('observer', 'Anyone on the way can read it');
  const http =
    (title: RegExp) =>
    (it: Seen): boolean =>
      it.station === 'internet' &&
      dissect(it.packet).some((layer) => layer.name === 'HTTP' && title.test(layer.title));
  const request = stage.find(seen, 'the HTTP request on the internet', http(/^GET/));
  const answer = stage.find(seen, 'the HTTP answer on the internet', http(/^HTTP/));
  await stage.text(
    'This datagram was captured *on the internet*, when the laptop read the page. Any router, provider or ' +
      'wireless neighbour on the way sees the same:',
  );
  await stage.show({
    kind: 'bytes',
    caption: 'the internet: one datagram of the tunnel',
    bytes: toHex(request),
  });
  await stage.text(
    'Addresses, the page that was asked for, the cookie that proves who asks: all of it. So is the answer, ' +
      'header in header down to the text:',
  );
  await stage.show({ kind: 'packet', place: 'the internet: the answer', bytes: toHex(answer) });
  await stage.text(
    'A tunnel makes networks reachable. It does not make them *private*: that takes encryption of what is ' +
      'inside, and keys to know each other by.',
  );
}

const sender = (layer: Layer | undefined): string => layer?.title.split(' → ')[0] ?? '';
const portOf = (layer: Layer | undefined): string => `\`${layer?.title.split(' → ')[0] ?? ''}\``;
const same = (a: Uint8Array, b: Uint8Array): boolean => Buffer.compare(a, b) === 0;

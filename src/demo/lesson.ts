import type { Seen } from './capture.js';
import { dissect } from './dissect.js';
import { toHex } from './events.js';
import { measureMtu } from './lesson-mtu.js';
import { observe, showStations } from './lesson-packets.js';
import { networks, tunnel } from './pictures.js';
import type { Stage } from './stage.js';
import { ADDRESS, OFFICE_LAN } from './topology.js';
import { TunnelProcess } from './tunnels.js';

/** The tunnel's own addresses. */
const INNER = { gateway: '10.0.0.1', laptop: '10.0.0.2' } as const;

/** The lesson of the post, scene by scene. What it tells, it has just seen happen. */
export async function playLesson(stage: Stage): Promise<void> {
  await showNetworks(stage);
  await tryWithout(stage);
  const learned = await startTunnel(stage);
  const seen = await tryWith(stage);
  const stations = await showStations(stage, seen.ping);
  await explainLearning(stage, await learned(), stations.internet, seen.ping);
  await observe(stage, seen.fetch);
  await measureMtu(stage);
  await sumUp(stage);
}

async function showNetworks(stage: Stage): Promise<void> {
  const { public4 } = stage.topology.homes[0]!;
  await stage.scene('networks', 'Two private networks');
  await stage.show({ kind: 'drawing', lines: networks(public4) });
  await stage.text(
    'Five computers, here as network namespaces: each has its own devices, addresses and routes, and the ' +
      'cables between them are virtual. All packets below are real, and captured as this runs.',
  );
  await stage.text(
    '*Private* addresses (192.168.x.x, 10.x.x.x) mean something inside their own network only. The internet ' +
      `knows ways to *public* ones: \`${public4}\` is the home router's, \`${ADDRESS.office.v4}\` the office ` +
      "gateway's. The home router is a NAT: what leaves the house gets the router's address as its sender.",
  );
}

async function tryWithout(stage: Stage): Promise<void> {
  const { laptop, homes } = stage.topology;
  await stage.scene('before', 'Without a tunnel: no way');
  stage.capture.take();
  const words = ['ping', '-c', '1', '-W', '1', ADDRESS.server.v4];
  await stage.run('laptop', laptop, words, /From|from|packets/);
  const seen = stage.capture.take();
  await stage.run('laptop', laptop, ['ip', 'route', 'get', ADDRESS.server.v4], /via|dev/);
  await stage.text(
    'The laptop knows no better than its default route: to the home router, and from there to the internet. ' +
      'This is the packet there, with the address of the router as its sender:',
  );
  const request = stage.find(seen, 'the ping on the internet', isEcho('internet', 'echo request'));
  await stage.show({ kind: 'packet', place: 'the internet', bytes: toHex(request) });
  await stage.text(
    `And there it ends. Thousands of networks use \`${OFFICE_LAN.v4}\`, so no router of the internet has a ` +
      `route to it, and the first one says so: \`Destination Net Unreachable\`. (The office could not answer ` +
      `\`${ADDRESS.laptop.v4}\` either; only \`${homes[0]!.public4}\`.)`,
  );
}

/** @returns how to get what the listener learned, once a packet has reached it */
async function startTunnel(stage: Stage): Promise<() => Promise<{ inner: string; outer: string }>> {
  const { laptop, gateway } = stage.topology;
  await stage.scene('tunnel', 'The tunnel');
  await stage.text(
    'So the packet has to travel *inside another packet*, one with addresses that the internet understands. ' +
      'A *TUN device* makes that possible. It is a network device without a cable: what the kernel sends into ' +
      'it, a program reads as bytes; what the program writes, the kernel receives as a packet.',
  );
  const listen = ['-listen', '--address', `${INNER.gateway}/24`, '--forward'];
  await stage.show({ kind: 'command', host: 'gateway', command: `lametun ${listen.join(' ')}` });
  const listener = new TunnelProcess(gateway, listen);
  const started = await listener.event('start');
  await stage.text(
    `It made \`tun0\` with the address \`${INNER.gateway}\`, waits for datagrams on UDP port \`${started['port']}\`, ` +
      'and lets through to the office network what comes out of the tunnel.',
  );
  const connect = ['-server', ADDRESS.office.v4, '--address', `${INNER.laptop}/24`, '--route', OFFICE_LAN.v4];
  await stage.show({ kind: 'command', host: 'laptop', command: `lametun ${connect.join(' ')}` });
  const client = new TunnelProcess(laptop, connect);
  await client.event('start');
  await Promise.all([listener.event('ready'), client.event('ready')]);
  stage.capture.watch('laptop-tun0', laptop, 'tun0');
  stage.capture.watch('gateway-tun0', gateway, 'tun0');
  await stage.text(`The laptop has a \`tun0\` too, and a route to the office that leads into it:`);
  await stage.run('laptop', laptop, ['ip', 'route', 'get', ADDRESS.server.v4], /dev/);
  await stage.show({ kind: 'drawing', lines: tunnel(Number(started['port'])) });
  return async () => {
    // The kernel's own IPv6 packets (router solicitation) may have been the first to be learned from.
    const { inner, outer } = await listener.event('learned', (event) => event['inner'] === INNER.laptop);
    return { inner: String(inner), outer: String(outer) };
  };
}

async function tryWith(stage: Stage): Promise<{ ping: Seen[]; fetch: Seen[] }> {
  const { laptop } = stage.topology;
  await stage.scene('after', 'With the tunnel: the office is there');
  await stage.startWebServer();
  stage.capture.take();
  await stage.run('laptop', laptop, ['ping', '-c', '3', '-i', '0.2', ADDRESS.server.v4]);
  const ping = stage.capture.take();
  await stage.text(`A program that knows of no tunnel reads \`http://${ADDRESS.server.v4}/plans.txt\`:`);
  await stage.show({ kind: 'output', text: await stage.fetchPage() });
  return { ping, fetch: stage.capture.take() };
}

async function explainLearning(
  stage: Stage,
  { inner, outer }: { inner: string; outer: string },
  request: Uint8Array,
  seen: readonly Seen[],
): Promise<void> {
  await stage.scene('learning', 'How the listener learned where to send answers');
  await stage.text(
    `The laptop was told where the office is: \`-server ${ADDRESS.office.v4}\`. Nobody told the office where ` +
      'the laptop is, and nobody could have: the router chose the port a moment ago, and lets in only what ' +
      'answers something that went out. So the listener remembers of each datagram who sent it:',
  );
  await stage.show({
    kind: 'table',
    head: ['sender of the inner packet', 'sender of the datagram around it'],
    rows: [[inner, `\`${outer}\``]],
  });
  const [address, port] = [senderOf(request, 0), senderOf(request, 1).replace('port ', '')];
  const isAnswer = ({ station, packet }: Seen): boolean =>
    station === 'internet' &&
    dissect(packet)[0]?.title === `${ADDRESS.office.v4} → ${address}` &&
    dissect(packet).some(({ title }) => title === 'echo reply');
  const answer = stage.find(seen, 'an answer on the internet', isAnswer);
  const same = outer === `${address}:${port}` ? 'That is the sender of station 3, and a' : 'A';
  await stage.text(
    `${same}nswers for \`${inner}\` go there. Here is one on the internet. The router knows whose port this ` +
      `is: it writes \`${ADDRESS.laptop.v4}\` and \`1234\` over it, and passes it on to the laptop.`,
  );
  const place = 'the internet: an answer, before the NAT';
  await stage.show({ kind: 'packet', place, bytes: toHex(answer), depth: 2 });
  await stage.text(
    'Note the weakness: *whoever* sends a well-formed datagram with this inner sender is believed. The ' +
      'listener cannot know better, as nothing here is signed.',
  );
}

/** Who sent it, by the header at this depth: an address or a port. */
const senderOf = (packet: Uint8Array, depth: number): string =>
  dissect(packet)[depth]?.title.split(' → ')[0] ?? '';

async function sumUp(stage: Stage): Promise<void> {
  await stage.scene('end', 'What you have seen');
  await stage.text(
    'A VPN is a program with a TUN device on one side and a UDP socket on the other. It wraps packets for one ' +
      'network into packets for another. Two such programs, and two private networks are one.',
  );
  await stage.text(
    'It keeps no secret, and it believes whoever speaks. Encryption and keys put that right: the next chapter.',
  );
}

/** Fits a ping packet, not wrapped, seen at a station. */
const isEcho =
  (station: Seen['station'], title: string) =>
  (seen: Seen): boolean =>
    seen.station === station &&
    dissect(seen.packet)[1]?.name === 'ICMP' &&
    dissect(seen.packet)[1]?.title === title;

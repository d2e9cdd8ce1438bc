import { Tun } from '../linux/tun/tun.js';
import type { Seen } from './capture.js';
import { dissect } from './dissect.js';
import { measureMtu } from './lesson-mtu.js';
import { observe, showStations } from './lesson-packets.js';
import { compareTransports } from './lesson-udp.js';
import { encrypt } from './lesson-wireguard.js';
import { OWNER_VARIABLE } from './machine.js';
import { networks, tunnel } from './pictures.js';
import { INNER, type Stage } from './stage.js';
import { ADDRESS, OFFICE_LAN } from './topology.js';
import { TunnelProcess } from './tunnels.js';

/** The lesson of the post, scene by scene. It claims only what has just happened. */
export async function playLesson(stage: Stage): Promise<void> {
  await showNetworks(stage);
  await tryWithout(stage);
  await showDevice(stage);
  const { listener, client } = await startTunnel(stage);
  const seen = await tryWith(stage);
  const stations = await showStations(stage, seen.ping);
  await explainLearning(stage, listener, stations.internet);
  await measureMtu(stage);
  await compareTransports(stage);
  const request = await observe(stage, seen.fetch);
  await Promise.all([listener.end(), client.end()]);
  await encrypt(stage, request);
  await sumUp(stage);
}

async function showNetworks(stage: Stage): Promise<void> {
  const { public4 } = stage.topology.homes[0]!;
  await stage.scene('networks', 'Two private networks');
  await stage.drawing(networks(public4));
  await stage.text('Each computer is a network namespace. Every packet below was captured in this run.');
  await stage.text(
    '*Private* addresses (`192.168.x.x`) work only inside their own network. The home router is a *NAT*: it puts ' +
      "its public address in place of the sender's.",
  );
}

async function tryWithout(stage: Stage): Promise<void> {
  const { laptop } = stage.topology;
  await stage.scene('before', 'Without a tunnel');
  stage.capture.take();
  const words = ['ping', '-c', '1', '-W', '1', ADDRESS.server.v4];
  await stage.run('laptop', laptop, words, /.*(From|packets).*/);
  const request = stage.find(
    stage.capture.take(),
    'the ping on the internet',
    ({ station, packet }) =>
      station === 'internet' && dissect(packet)[0]?.title.endsWith(`→ ${ADDRESS.server.v4}`) === true,
  );
  await stage.packet('the internet, after the NAT', request);
  await stage.text(`No router on the internet knows \`${OFFICE_LAN.v4}\`: thousands of networks use it.`);
}

async function showDevice(stage: Stage): Promise<void> {
  const { laptop } = stage.topology;
  await stage.scene('device', 'A TUN device');
  await stage.text(
    'The packet must travel *inside another one*. A *TUN device* hands packets to a program instead of a cable, and ' +
      'takes packets from it.',
  );
  const user = process.env[OWNER_VARIABLE]!;
  await stage.run('laptop', laptop, `ip tuntap add dev tun9 mode tun user ${user}`.split(' '));
  await stage.run('laptop', laptop, 'ip -d link show dev tun9'.split(' '), /tun type .* user \S+/);
  const opened = user !== 'root' && laptop.inside(() => opensAs(user, 'tun9'));
  laptop.ip(['link del tun9']);
  await stage.text(
    `${opened ? `A program of \`${user}\` has just opened it, without privileges. ` : ''}A TUN device carries IP ` +
      'packets. A TAP device carries Ethernet frames.',
  );
}

/** Whether this process can open a device while it is another user and has no privileges. */
function opensAs(user: string, name: string): boolean {
  process.seteuid!(user);
  try {
    Tun.open({ name, packetInformation: false }).close();
    return true;
  } catch {
    return false; // some machines keep /dev/net/tun for root
  } finally {
    process.seteuid!(0);
  }
}

async function startTunnel(stage: Stage): Promise<{ listener: TunnelProcess; client: TunnelProcess }> {
  const { laptop, gateway } = stage.topology;
  await stage.scene('tunnel', 'The tunnel');
  const listen = ['-listen', '--address', `${INNER.gateway}/24`, '--forward'];
  await stage.command('gateway', `lametun ${listen.join(' ')}`);
  const listener = new TunnelProcess(gateway, listen);
  const { port } = await listener.event('start');
  await stage.text(`It makes \`tun0\` and listens on UDP port \`${port}\`.`);
  const connect = ['-server', ADDRESS.office.v4, '--address', `${INNER.laptop}/24`, '--route', OFFICE_LAN.v4];
  await stage.command('laptop', `lametun ${connect.join(' ')}`);
  const client = new TunnelProcess(laptop, connect);
  await Promise.all([listener.event('ready'), client.event('ready')]);
  stage.capture.watch('laptop-tun0', laptop, 'tun0');
  stage.capture.watch('gateway-tun0', gateway, 'tun0');
  await stage.text('The route to the office now leads into `tun0`:');
  await stage.run('laptop', laptop, ['ip', 'route', 'get', ADDRESS.server.v4], /.* dev .*/);
  await stage.drawing(tunnel(Number(port)));
  return { listener, client };
}

async function tryWith(stage: Stage): Promise<{ ping: Seen[]; fetch: Seen[] }> {
  const { laptop } = stage.topology;
  await stage.scene('after', 'With the tunnel');
  await stage.startWebServer();
  stage.capture.take();
  const words = ['ping', '-c', '3', '-i', '0.2', ADDRESS.server.v4];
  await stage.run('laptop', laptop, words, /.*(time=|packets).*/);
  const ping = stage.capture.take();
  await stage.text(`No program had to change. One reads \`http://${ADDRESS.server.v4}/plans.txt\`:`);
  await stage.output(await stage.fetchPage());
  return { ping, fetch: stage.capture.take() };
}

/** @param request a datagram of the laptop, captured on the internet */
async function explainLearning(stage: Stage, listener: TunnelProcess, request: Uint8Array): Promise<void> {
  await stage.scene('learning', 'The way back');
  await stage.text('The listener remembers who sent each datagram:');
  // The first packets may have been the kernel's own, by IPv6: router solicitations.
  const { outer } = await listener.event('learned', (event) => event['inner'] === INNER.laptop);
  const head = ['sender of the inner packet', 'sender of the datagram around it'];
  await stage.table(head, [[INNER.laptop, `\`${outer}\``]]);
  const [address, port] = [0, 1].map((depth) => dissect(request)[depth]?.title.split(' → ')[0]);
  const same = outer === `${address}:${port?.replace('port ', '')}`;
  await stage.text(
    `${same ? 'That is the sender at station 3. ' : ''}Answers go there, and the NAT passes them on. ` +
      '*Anyone* can forge such a datagram: nothing proves who sent it.',
  );
}

async function sumUp(stage: Stage): Promise<void> {
  await stage.scene('end', 'What a VPN is');
  await stage.text(
    'A VPN is a program between a TUN device and a UDP socket. It wraps packets of one network into packets of ' +
      'another. Encryption and keys make it private.',
  );
}

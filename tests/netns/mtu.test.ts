import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { UdpSocket } from '../../src/linux/net/udp.js';
import { connect, Namespace } from '../../src/linux/process/namespace.js';
import { ReceiveBatch } from '../../src/packets/udp-batch.js';
import { type Datagram, Datagrams, receive } from '../kit/datagrams.js';
import { needs } from '../kit/requirements.js';

const TO = '203.0.113.2';
const PORT = 9_000;
const SMALL = 1_000;
const FULL = 1_320;
const RUN = 20;

/** Two hosts and a router, whose link to the second host has a smaller MTU; its ICMP errors may be filtered. */
function blackHole(t: TestContext): { a: Namespace; b: Namespace } {
  const prefix = `mtu${process.pid.toString(36)}${labs++}`;
  const [a, router, b] = Namespace.createAll(['a', 'r', 'b'].map((name) => `${prefix}${name}`));
  t.after(() => {
    for (const namespace of [a!, router!, b!]) namespace.remove();
  });
  router!.sysctl({ 'net.ipv4.ip_forward': 1 });
  connect(
    {
      ...{ namespace: a!, device: 'eth0', addresses: ['198.51.100.2/24'] },
      routes: [{ to: 'default', via: '198.51.100.1' }],
    },
    { namespace: router!, device: 'wide', addresses: ['198.51.100.1/24'] },
  );
  connect(
    { namespace: router!, device: 'narrow', addresses: ['203.0.113.1/24'] },
    {
      ...{ namespace: b!, device: 'eth0', addresses: [`${TO}/24`] },
      routes: [{ to: 'default', via: '203.0.113.1' }],
    },
    1_300,
  );
  router!.run('nft', ['-f', '-'], {
    input:
      'table ip filter { chain output { type filter hook output priority 0; ip protocol icmp drop; }\n}\n',
  });
  return { a: a!, b: b! };
}
let labs = 0;

/** @param send sends, and returns how many will arrive @returns the lengths that arrived */
async function arrivals(
  t: TestContext,
  clearsDf: boolean,
  send: (sender: Datagrams, payload: (length: number) => Datagram[]) => number,
): Promise<number[]> {
  const { a, b } = blackHole(t);
  const sender = new Datagrams(t, a, 0);
  if (clearsDf) sender.socket.letRoutersFragment();
  const receiver = b.inside(() => UdpSocket.open(PORT));
  t.after(() => receiver.close());
  const count = send(sender, (length) => [{ payload: new Uint8Array(length), trafficClass: 0 }]);
  const received = await receive(receiver, new ReceiveBatch(64), count, 20_000);
  return received.map(({ payload }) => payload.length);
}

test('datagrams cross a link with a smaller MTU and filtered ICMP, alone and in runs', async (t) => {
  if (!needs(t, 'netns', 'nft')) return;
  const lengths = await arrivals(t, true, (sender, payload) => {
    sender.send(TO, PORT, payload(FULL));
    sender.sendRun(TO, PORT, new Uint8Array(RUN * FULL), FULL);
    return 1 + RUN;
  });
  assert.deepEqual(lengths, new Array(1 + RUN).fill(FULL));
});

test('control: with DF set they are lost', async (t) => {
  if (!needs(t, 'netns', 'nft')) return;
  const lengths = await arrivals(t, false, (sender, payload) => {
    sender.send(TO, PORT, payload(FULL));
    sender.send(TO, PORT, payload(SMALL)); // sent after it, and arrives
    return 1;
  });
  assert.deepEqual(lengths, [SMALL]);
});

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { connect, Namespace } from '../../src/linux/process/namespace.js';
import { Lametun } from '../kit/lametun.js';
import { needs } from '../kit/requirements.js';

/**
 * Captured datagrams of the original Go program are sent to lametun. The kernel behind the tunnel must understand each, and
 * each answer must equal the original's, byte for byte.
 */

interface Vector {
  readonly name: string;
  readonly direction: 'client to listener' | 'listener to client';
  readonly hex: string;
}
const vectors: { readonly provenance: Record<string, string>; readonly datagrams: readonly Vector[] } = JSON.parse(
  readFileSync(new URL('./go-lametun.json', import.meta.url), 'utf8'),
);
const EXCHANGE = fileURLToPath(new URL('./exchange.js', import.meta.url));

const find = (name: string): Vector => {
  const vector = vectors.datagrams.find((one) => one.name === name);
  assert.ok(vector, `no vector "${name}"`);
  return vector;
};

/** Questions, and the answers of the original's kernel. */
const TO_LISTENER = [
  ['ICMP echo request', 'ICMP echo reply'],
  ['ICMPv6 echo request', 'ICMPv6 echo reply'],
  ['UDP packet', 'ICMP port unreachable'],
  ['TCP SYN', 'TCP RST'],
].map((pair) => pair.map(find)) as [Vector, Vector][];
const TO_CLIENT = [
  ['ICMP echo request that fills a 1500-byte path', 'ICMP echo reply that fills a 1500-byte path'],
].map((pair) => pair.map(find)) as [Vector, Vector][];

test('the capture is complete, names its source, and its datagrams are distinct', () => {
  assert.equal(vectors.datagrams.length, 10);
  assert.equal(new Set(vectors.datagrams.map(({ hex }) => hex)).size, 10);
  for (const field of ['program', 'commit', 'compiler', 'kernel', 'captured', 'how']) {
    assert.ok(vectors.provenance[field], field);
  }
});

test('every captured datagram consists of packet information and one complete IP packet', () => {
  for (const { name, hex } of vectors.datagrams) {
    const bytes = Buffer.from(hex, 'hex');
    const version = bytes[4]! >> 4;
    assert.equal(bytes.toString('hex', 0, 4), version === 4 ? '00000800' : '000086dd', name);
    const length = version === 4 ? bytes.readUInt16BE(6) : 40 + bytes.readUInt16BE(8);
    assert.equal(bytes.length, 4 + length, name);
  }
});

test('the listener understands the original client, and answers like the original listener', async (t) => {
  await play(t, TO_LISTENER, {
    ours: ['192.0.2.2', '-listen', '--address', '10.0.0.1/24', '--address', 'fd00::1/64'],
    theirs: '192.0.2.1',
  });
});

test('the client understands the original listener, and answers like the original client', async (t) => {
  await play(t, TO_CLIENT, {
    ours: ['192.0.2.1', '-server', '192.0.2.2', '--address', '10.0.0.2/24', '--mtu', '1500'],
    theirs: '192.0.2.2',
  });
});

async function play(
  t: TestContext,
  pairs: readonly [Vector, Vector][],
  { ours, theirs }: { readonly ours: readonly [string, ...string[]]; readonly theirs: string },
): Promise<void> {
  if (!needs(t, 'root', 'tun', 'netns')) return;
  const prefix = `v${process.pid.toString(36)}-`;
  const [here, there] = Namespace.createAll([`${prefix}ours`, `${prefix}theirs`]) as [Namespace, Namespace];
  const [address, ...args] = ours;
  connect(
    { namespace: here, device: 'eth0', addresses: [`${address}/24`] },
    { namespace: there, device: 'eth0', addresses: [`${theirs}/24`] },
  );
  const tunnel = await new Lametun(here, args).ready();
  t.after(async () => {
    await tunnel.stop('SIGKILL');
    for (const namespace of [here, there]) namespace.remove();
  });
  const input = JSON.stringify(pairs.map(([question]) => question.hex));
  const answers: (string | null)[] = JSON.parse(there.run(process.execPath, [EXCHANGE, address], { input }));
  assert.equal(answers.length, pairs.length);
  for (const [i, [question, answer]] of pairs.entries()) {
    assert.equal(
      answers[i] && withoutChance(answers[i]),
      withoutChance(answer.hex),
      `the answer to "${question.name}"`,
    );
  }
}

/** A packet without random fields: IPv4's identification (and so its checksum), IPv6's flow label. */
function withoutChance(hex: string): string {
  const bytes = Buffer.from(hex, 'hex');
  if (bytes[4]! >> 4 === 4) bytes.fill(0, 4 + 4, 4 + 6).fill(0, 4 + 10, 4 + 12);
  else bytes.writeUInt32BE((bytes.readUInt32BE(4) & 0xfff00000) >>> 0, 4);
  return bytes.toString('hex');
}

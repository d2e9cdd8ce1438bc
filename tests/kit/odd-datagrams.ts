import assert from 'node:assert/strict';
import type { Datagram, Datagrams } from './datagrams.js';
import { until } from './wait.js';

/** The UDP port of both ends. */
export const PORT = 5300;

interface ExchangeEnd {
  readonly socket: Datagrams;
  /** The end's addresses inside the tunnel. */
  readonly inner: { readonly v4: string; readonly v6: string };
}

/** Two hosts with a tunnel between them. */
export interface Exchange {
  readonly from: ExchangeEnd;
  readonly to: ExchangeEnd;
}

/** Pseudo-random bytes, so that no two datagrams of a test are alike, even when truncated. */
export function noise(length: number, seed: number): Uint8Array {
  let state = (seed + 1) * 0x9e3779b1;
  return Uint8Array.from({ length }, () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state;
  });
}

/** Traffic classes: DSCP with each of the ECN marks. */
const CLASSES = [0, 0xb8, 0xb9, 0x02, 0x03, 0x28];

/** The largest payload of a UDP datagram over IPv4, bytes. */
const LARGEST = 65_507;

/** Datagrams that are alike or differ a little, which merging must tell apart. */
export function oddDatagrams(mtu: number): Datagram[][] {
  const full = mtu - 28;
  const batches = [
    Array.from({ length: 40 }, (_, i) => i + 1),
    [full, full, full, full, full - 1, full, full, 1, full, 2, full],
    [full + 1, full, full - 20, full - 19, Math.min(2 * full, LARGEST), full],
    [100, 100, 100, 50, 50, 50, 51, 100, 100, 1, 1, 1, 1, 1],
    [1, 16, 17, 1352, 1353, 1391, 1392, 1393, 9000, 30_000, LARGEST, 3],
    Array.from({ length: 60 }, () => full),
  ];
  return batches.map((sizes, nth) =>
    sizes.map((size, i) => ({
      payload: noise(size, nth * 1000 + i),
      trafficClass: nth === 5 ? CLASSES[Math.floor(i / 10)]! : nth % 2 ? 0 : CLASSES[(i >> 1) % 6]!,
    })),
  );
}

/** Sends batches of datagrams, and asserts that each arrives once, in order and unchanged. */
export async function assertDatagrams({ from, to }: Exchange, mtu: number): Promise<void> {
  for (const version of ['v4', 'v6'] as const) {
    const { [version]: target } = to.inner;
    const { [version]: source } = from.inner;
    for (const batch of oddDatagrams(mtu)) {
      from.socket.send(target, PORT, batch);
      assertSame(await to.socket.receive(batch.length), batch, `${version}, MTU ${mtu}`);
      to.socket.send(source, PORT, batch);
      assertSame(await from.socket.receive(batch.length), batch, `back, ${version}, MTU ${mtu}`);
    }
    for (const [count, size] of [
      [40, 1000],
      [64, 33],
      [Math.min(7, Math.floor(65_000 / (mtu - 48))), mtu - 48],
    ] as const) {
      const bytes = noise(count * size + 11, size);
      from.socket.sendRun(target, PORT, bytes, size, 0x29);
      const expected = Array.from({ length: count + 1 }, (_, i) => ({
        payload: bytes.slice(i * size, (i + 1) * size),
        trafficClass: 0x29,
      }));
      assertSame(
        await to.socket.receive(count + 1),
        expected,
        `${version}, MTU ${mtu}, run of ${count} by ${size}`,
      );
    }
  }
}

/**
 * The same through a program whose socket has the system's small buffer. Some datagrams of a burst may be lost, but none
 * may be changed, duplicated or reordered.
 */
export async function assertDatagramsUnchanged({ from, to }: Exchange, mtu: number): Promise<void> {
  for (const version of ['v4', 'v6'] as const) {
    for (const [sender, receiver, target] of [
      [from.socket, to.socket, to.inner[version]],
      [to.socket, from.socket, from.inner[version]],
    ] as const) {
      const sent: Datagram[] = [];
      let found = 0;
      let count = 0;
      for (const [nth, batch] of oddDatagrams(mtu).entries()) {
        sender.send(target, PORT, batch);
        sent.push(...batch);
        const received = await receiveTo(`${END} ${version} ${nth}`, batch.length, sender, receiver, target);
        found = assertAmong(received, sent, found);
        count += received.length;
      }
      assert.ok(count > sent.length / 2, `${version}, MTU ${mtu}: ${count} of ${sent.length}`);
    }
  }
}

/** The beginning of the datagrams that mark the end of a batch. */
const END = 'the end of the batch';

/** Receives all datagrams before an end marker, which it sends until it arrives. */
async function receiveTo(
  end: string,
  count: number,
  sender: Datagrams,
  receiver: Datagrams,
  target: string,
): Promise<Datagram[]> {
  const received: Datagram[] = [];
  const textOf = ({ payload }: Datagram): string => Buffer.from(payload).toString('latin1');
  const last = { payload: Buffer.from(end), trafficClass: 0 };
  await until(end, async () => {
    sender.send(target, PORT, [last]);
    received.push(...(await receiver.receive(Math.max(1, count + 1 - received.length), 300)));
    return received.some((datagram) => textOf(datagram) === end);
  });
  return received.filter((datagram) => !textOf(datagram).startsWith(END));
}

export function assertSame(received: readonly Datagram[], sent: readonly Datagram[], what: string): void {
  const short = (list: readonly Datagram[]): string[] =>
    list.map(({ payload, trafficClass }) => `${payload.length} bytes, class ${trafficClass}`);
  assert.deepEqual(short(received), short(sent), what);
  received.forEach(({ payload }, i) => {
    assert.ok(Buffer.from(payload).equals(sent[i]!.payload), `${what}: datagram ${i} differs`);
  });
}

/** Asserts that all of `received` are in `sent`, in order, from index `from` on. @returns the index after the last one */
export function assertAmong(received: readonly Datagram[], sent: readonly Datagram[], from: number): number {
  let at = from;
  for (const { payload, trafficClass } of received) {
    const same = (other: Datagram): boolean =>
      other.trafficClass === trafficClass && Buffer.from(other.payload).equals(payload);
    while (at < sent.length && !same(sent[at]!)) at++;
    assert.ok(at++ < sent.length, `nobody sent this: ${payload.length} bytes, class ${trafficClass}`);
  }
  return at;
}

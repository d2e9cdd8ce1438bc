import assert from 'node:assert/strict';
import { test } from 'node:test';
import { RelayMember } from '../../../tests/kit/relay-member.js';
import { parseAddress } from '../../ip/address.js';
import { allocate } from '../../linux/ffi/memory.js';
import { AF, writeSocketAddress } from '../../linux/net/socket-address.js';
import { SocketFilter } from '../../linux/net/socket-filter.js';
import { UdpSocket } from '../../linux/net/udp.js';
import { ReceiveBatch } from '../../packets/udp-batch.js';
import { THINNING_INTERVAL, Thinning } from './thinning.js';

/** How much of each sender's data passes. */
const keeps = (thinning: Thinning): Record<number, number> =>
  Object.fromEntries(
    Array.from({ length: thinning.count }, (_, i) => [thinning.senders[i]!, thinning.keeps[i]!]),
  );

test('frames of the largest senders are dropped while the queue is too full', () => {
  const thinning = new Thinning(8);
  let now = 1000;
  const interval = (fill: number, above: Record<number, number>): boolean => {
    for (const [sender, bytes] of Object.entries(above)) thinning.note(Number(sender), bytes);
    now += THINNING_INTERVAL;
    return thinning.decide(now, fill);
  };
  assert.equal(interval(0.2, {}), false);
  assert.equal(interval(0.9, { 3: 1000, 5: 900, 6: 20 }), true);
  assert.deepEqual(keeps(thinning), { 3: 0.5, 5: 0.5 });
  interval(0.9, { 3: 1000, 5: 10 });
  assert.deepEqual(keeps(thinning), { 3: 0.25, 5: 0.5 });
  for (let i = 0; i < 3; i++) assert.equal(interval(0.1, {}), true);
  assert.equal(keeps(thinning)[5]! > 0.9, true);
  assert.equal(thinning.forget(3), true);
  assert.deepEqual(Object.keys(keeps(thinning)), ['5']);
  interval(0, {});
  assert.equal(thinning.count, 0);
  assert.equal(interval(0, {}), false);
});

for (const address of ['127.0.0.1', '::1']) {
  test(`the kernel drops part of one sender’s datagrams, and none of another’s: ${address}`, (t) => {
    const socket = UdpSocket.open(0);
    t.after(() => socket.close());
    socket.setBuffers(16 << 20);
    const [one, other] = [new RelayMember(socket.port, address), new RelayMember(socket.port, address)];
    t.after(() => [one, other].map((member) => member.close()));
    const batch = new ReceiveBatch(64);
    const receive = (): number => {
      let sum = 0;
      for (let count = 64; count === 64; sum += count) count = Math.max(0, batch.receive(socket.fd));
      return sum;
    };
    const send = (sender: RelayMember): number => {
      for (let i = 0; i < 10; i++) sender.send(...Array.from({ length: 100 }, () => new Uint8Array(50)));
      return receive();
    };
    assert.equal(send(one), 1000);
    const name = allocate(32);
    const bytes = address === '::1' ? new Uint8Array(16).fill(1, 15) : Uint8Array.of(127, 0, 0, 1);
    writeSocketAddress(name.view, 0, AF.inet6, { address: bytes, port: one.port });
    const filter = new SocketFilter(socket.fd, 4);
    const keep = (part: number): void => {
      filter.clear();
      filter.add(name.view, 0, part);
      assert.equal(filter.apply(), true);
    };
    keep(0);
    assert.equal(send(one), 0);
    assert.equal(send(other), 1000);
    keep(0.25);
    const some = send(one);
    assert.ok(some > 150 && some < 350, `${some}`);
    filter.clear();
    assert.equal(filter.apply(), true);
    assert.equal(send(one), 1000);
  });
}

test('a sender is distinguished from one with a similar address and the same port', (t) => {
  const socket = UdpSocket.open(0);
  t.after(() => socket.close());
  const honest = new RelayMember(socket.port, '::1');
  t.after(() => honest.close());
  const name = allocate(32);
  const filter = new SocketFilter(socket.fd, 16);
  for (const flooder of ['fd00:a::1', '::2:0:0:1', '::3:0:1', '0.0.0.0', '0.0.0.1', '::1%9']) {
    const [text, scope = 0] = flooder.split('%');
    const endpoint = { address: parseAddress(text!)!, port: honest.port, scope: Number(scope) };
    writeSocketAddress(name.view, 0, AF.inet6, endpoint);
    filter.add(name.view, 0, 0);
  }
  const batch = new ReceiveBatch(64);
  const sendTen = (): number => {
    for (let i = 0; i < 10; i++) honest.send(new Uint8Array(50));
    return batch.receive(socket.fd);
  };
  assert.equal(filter.apply(), true);
  assert.equal(sendTen(), 10);
  writeSocketAddress(name.view, 0, AF.inet6, { address: parseAddress('::1')!, port: honest.port });
  filter.add(name.view, 0, 0);
  assert.equal(filter.apply(), true);
  assert.ok(sendTen() <= 0, 'control: its own address');
});

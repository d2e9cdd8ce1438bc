import assert from 'node:assert/strict';
import { test } from 'node:test';
import { allocate } from '../ffi/memory.js';
import { writeSocketAddress } from './socket-address.js';
import { reconnect, UdpSocket } from './udp.js';

test('a port chosen by the kernel stays the same when the socket is reconnected', () => {
  const socket = UdpSocket.open(0);
  try {
    const { port } = socket;
    const server = allocate(32);
    for (const last of [1, 2, 3]) {
      const address = Uint8Array.of(127, 0, 0, last);
      const length = writeSocketAddress(server.view, 0, socket.family, { address, port: 9 });
      assert.equal(reconnect(socket.fd, server.address, length), 0);
      assert.equal(socket.port, port);
    }
  } finally {
    socket.close();
  }
});

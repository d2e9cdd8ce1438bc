import type { Endpoint } from '../../src/ip/endpoint.js';
import { allocate } from '../../src/linux/ffi/memory.js';
import { writeSocketAddress } from '../../src/linux/net/socket-address.js';
import { UdpSocket } from '../../src/linux/net/udp.js';
import { type Watch, watchReadable } from '../../src/linux/net/watch.js';
import type { Namespace } from '../../src/linux/process/namespace.js';
import { SendBatch } from '../../src/packets/send-batch.js';
import { ENDPOINT, ReceiveBatch } from '../../src/packets/udp-batch.js';
import { MAGIC, RELAY_FRAME } from '../../src/protocol/relay.js';

const BATCH = 64;
const ROOM = 4 << 20;

/** A minimal relay between members with fixed endpoints. */
export class TestRelay {
  readonly #socket: UdpSocket;
  readonly #watch: Watch;
  readonly #incoming = new ReceiveBatch(BATCH);
  readonly #outgoing = new SendBatch(1);
  readonly #members: readonly { readonly id: number; readonly record: ReturnType<typeof allocate> }[];
  /** Frames forwarded. */
  passed = 0;
  /** Datagrams refused: not a frame, or not between the members. */
  refused = 0;

  constructor(host: Namespace, port: number, members: readonly { id: number; at: Endpoint }[]) {
    this.#socket = host.inside(() => UdpSocket.open(port));
    this.#socket.setBuffers(ROOM);
    this.#members = members.map(({ id, at }) => {
      const record = allocate(ENDPOINT.size);
      const length = writeSocketAddress(record.view, ENDPOINT.name, this.#socket.family, at);
      record.view.setUint32(ENDPOINT.nameLength, length, true);
      return { id, record };
    });
    this.#watch = watchReadable(this.#socket.fd, () => this.#pass());
  }

  close(): void {
    this.#watch.close();
    this.#socket.close();
  }

  #pass(): void {
    const { memory } = this.#incoming;
    const count = this.#incoming.receive(this.#socket.fd);
    for (let slot = 0; slot < count; slot++) {
      const at = this.#incoming.offset(slot);
      const from = this.#members.find(({ record }) => this.#incoming.sentBy(slot, record, 0));
      const isFrame = memory.view.getInt32(at, true) === MAGIC.relay;
      const to = this.#members.find(({ id }) => id === memory.view.getUint32(at + RELAY_FRAME.peer, true));
      if (!isFrame || from === undefined || to === undefined || to === from) {
        this.refused++;
        continue;
      }
      memory.view.setUint32(at + RELAY_FRAME.peer, from.id, true);
      this.#outgoing.addTo(memory.address + at, this.#incoming.length(slot), to.record, 0);
      if (this.#outgoing.flush(this.#socket.fd) !== 0) this.#outgoing.skip();
      else this.passed++;
    }
  }
}

import type { Endpoint } from '../ip/endpoint.js';
import type { Memory } from '../linux/ffi/memory.js';
import { readSocketAddress, writeSocketAddress } from '../linux/net/socket-address.js';
import { ENDPOINT, ourAddress } from '../packets/udp-batch.js';
import type { SocketEndpoint, SourceAddress } from './engine.js';

/** The local side of an `ENDPOINT` record: the control message for answers, and whether to use it. */
interface Control {
  readonly bytes: Uint8Array;
  readonly interface: number;
  readonly used: boolean;
}

/** A peer's address, and the local address that it wrote to. */
export class KernelEndpoint implements SocketEndpoint {
  readonly remote: Endpoint;
  readonly control: Control | undefined;
  readonly bytes: Uint8Array;
  readonly relayPeer: number;

  constructor(remote: Endpoint, relayPeer: number, control?: Control) {
    this.remote = remote;
    this.control = control;
    this.relayPeer = relayPeer;
    const { length } = remote.address;
    this.bytes = new Uint8Array(length + (relayPeer === 0 ? 2 : 6));
    this.bytes.set(remote.address);
    const view = new DataView(this.bytes.buffer);
    view.setUint16(length, remote.port);
    if (relayPeer !== 0) view.setUint32(length + 2, relayPeer);
  }

  get source(): SourceAddress | undefined {
    if (this.control === undefined) return undefined;
    const { bytes, interface: number, used } = this.control;
    return { address: ourAddress(bytes), interface: number, used };
  }

  get withoutSource(): KernelEndpoint | undefined {
    return this.control && new KernelEndpoint(this.remote, this.relayPeer);
  }

  using(source: boolean): KernelEndpoint {
    if (this.control === undefined || this.control.used === source) return this;
    return new KernelEndpoint(this.remote, this.relayPeer, { ...this.control, used: source });
  }

  equals(other: { readonly bytes: Uint8Array; readonly remote?: Endpoint }): boolean {
    if ((this.remote.scope ?? 0) !== (other.remote?.scope ?? 0)) return false;
    return this.bytes.length === other.bytes.length && this.bytes.every((byte, i) => byte === other.bytes[i]);
  }
}

type Record = Pick<Memory, 'bytes' | 'view'>;

/** @param family of the socket that the record is for */
export function writeEndpoint(out: Record, at: number, family: number, endpoint: KernelEndpoint): void {
  const { remote, control, relayPeer } = endpoint;
  const { view } = out;
  const length = writeSocketAddress(view, at + ENDPOINT.name, family, remote);
  view.setUint32(at + ENDPOINT.nameLength, length, true);
  if (control !== undefined) out.bytes.set(control.bytes, at + ENDPOINT.control);
  view.setUint32(at + ENDPOINT.controlLength, control?.used ? control.bytes.length : 0, true);
  view.setUint32(at + ENDPOINT.relayPeer, relayPeer, true);
  view.setUint32(at + ENDPOINT.interface, control?.interface ?? 0, true);
}

/** Reads the record of a received datagram. */
export function readEndpoint({ bytes, view }: Record, at: number): KernelEndpoint {
  const begin = at + ENDPOINT.control;
  const length = view.getUint32(at + ENDPOINT.controlLength, true);
  const control =
    length === 0
      ? undefined
      : {
          bytes: bytes.slice(begin, begin + length),
          interface: view.getUint32(at + ENDPOINT.interface, true),
          used: true,
        };
  const remote = readSocketAddress(view, at + ENDPOINT.name);
  return new KernelEndpoint(remote, view.getUint32(at + ENDPOINT.relayPeer, true), control);
}

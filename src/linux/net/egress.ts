import { formatAddress, type IpAddress } from '../../ip/address.js';
import { ERRNO, LinuxError } from '../ffi/errno.js';
import { NetlinkSocket } from './netlink.js';
import { Attributes, MessageWriter, NLM_F } from './netlink-message.js';
import { RTN } from './route.js';

/** linux/rtnetlink.h. */
const RTM_GETROUTE = 26;
const RTA = { destination: 1, source: 2, oif: 4, mark: 16 } as const;
/** struct rtmsg, as in `route.ts`. */
const RTMSG = { family: 0, destinationPrefix: 1, sourcePrefix: 2, type: 7, size: 12 } as const;
const AF = { 4: 2, 16: 10 } as const;

/** By which interface packets from one of this machine's addresses to another address leave. */
export type Egress =
  /** The interface's number. */
  | number
  /** None: the destination is an address of this machine too. */
  | 'local'
  /** There is no route now. */
  | 'no route'
  /** The source is not an address of this machine (any more), or the kernel drops such packets. */
  | 'not ours';

/** Asks the kernel by which interface packets leave, in the network namespace that its maker's thread was in. */
export class EgressLookup {
  readonly #socket = new NetlinkSocket();

  /**
   * @param mark the firewall mark that packets bear; 0 for none
   * @throws LinuxError
   */
  find(from: IpAddress, to: IpAddress, mark: number): Egress {
    // IPv6 does not check the source address, and newer kernels report a missing route for IPv4.
    if (this.#ask(from, undefined, 0) !== 'local') return 'not ours';
    return this.#ask(to, from, mark);
  }

  #ask(to: IpAddress, from: IpAddress | undefined, mark: number): Egress {
    const message = new MessageWriter(RTM_GETROUTE, NLM_F.request | NLM_F.ack, RTMSG.size);
    message.fixed.setUint8(RTMSG.family, to.length === 4 ? AF[4] : AF[16]);
    message.fixed.setUint8(RTMSG.destinationPrefix, to.length * 8);
    message.attribute(RTA.destination, to);
    if (from !== undefined) {
      message.fixed.setUint8(RTMSG.sourcePrefix, from.length * 8);
      message.attribute(RTA.source, from);
    }
    if (mark !== 0) message.u32(RTA.mark, mark);
    try {
      const [answer] = this.#socket.request(message, `look up the route to ${formatAddress(to)}`);
      if (answer === undefined || answer.payload.byteLength < RTMSG.size) return 'no route';
      if (answer.payload.getUint8(RTMSG.type) === RTN.local) return 'local';
      return new Attributes(answer.payload, RTMSG.size).u32(RTA.oif) ?? 'no route';
    } catch (error) {
      if (!(error instanceof LinuxError)) throw error;
      // Otherwise: no route, `unreachable`, no such IP version; or the kernel has no memory for an answer.
      return error.errno === ERRNO.EINVAL ? 'not ours' : 'no route';
    }
  }

  close(): void {
    this.#socket.close();
  }
}

import { formatAddress, type IpAddress } from '../../ip/address.js';
import { ERRNO, LinuxError } from '../ffi/errno.js';
import { NetlinkSocket } from './netlink.js';
import { RTN, readRoute, routeRequest } from './route.js';

/** By which interface packets from one of this machine's addresses to another address leave. */
export type Egress =
  /** The interface's number. */
  | number
  /** None: the destination is an address of this machine too. */
  | 'local'
  /** There is no route now. */
  | 'no route'
  /** The source is not an address of this machine (any more), or the kernel drops such packets. */
  | 'not a local address';

/** Asks the kernel by which interface packets leave, in the network namespace that its maker's thread was in. */
export class EgressLookup {
  readonly #socket = new NetlinkSocket();

  /**
   * @param mark the firewall mark that packets bear; 0 for none
   * @throws LinuxError
   */
  find(from: IpAddress, to: IpAddress, mark: number): Egress {
    // IPv6 does not check the source address, and newer kernels report a missing route for IPv4.
    if (this.#ask(from, undefined, 0) !== 'local') return 'not a local address';
    return this.#ask(to, from, mark);
  }

  #ask(to: IpAddress, from: IpAddress | undefined, mark: number): Egress {
    try {
      const what = `look up the route to ${formatAddress(to)}`;
      const [answer] = this.#socket.request(routeRequest(to, mark, from), what);
      const route = answer && readRoute(answer);
      return route?.type === RTN.local ? 'local' : (route?.device ?? 'no route');
    } catch (error) {
      if (!(error instanceof LinuxError)) throw error;
      // Otherwise: no route, `unreachable`, no such IP version; or the kernel has no memory for an answer.
      return error.errno === ERRNO.EINVAL ? 'not a local address' : 'no route';
    }
  }

  close(): void {
    this.#socket.close();
  }
}

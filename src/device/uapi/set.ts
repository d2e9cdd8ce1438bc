import { ERRNO, LinuxError } from '../../linux/ffi/errno.js';
import type { Log } from '../../log.js';
import type { Peer } from '../../wireguard/peer.js';
import type { WireGuardInterface } from '../interface.js';
import { peerName } from '../peer-name.js';
import { UAPI_ERRNO, UapiError } from './error.js';
import { type EndpointText, parseSetLine, type Section, type SetLine } from './parse.js';

export interface SetContext {
  readonly device: WireGuardInterface;
  readonly log: Log;
  /** The index of an interface by name; 0 if there is none. */
  readonly interfaceIndex: (name: string) => number;
  /** A request has ended, so the configuration may be another. */
  readonly onChange?: () => void;
}

/**
 * A `set=1` request, line by line. Each line takes effect at once, so the lines before an error stay in effect, as with
 * wireguard-go. Allowed IPs reach the data plane at the end.
 */
export class SetRequest {
  readonly #context: SetContext;
  #section: Section = 'device';
  /** The peer that the lines configure. Undefined before the first peer, and for an ignored one. */
  #peer: Peer | undefined;
  #created = false;
  /** In seconds. Set at the end of a peer's lines, because it may send a packet, which depends on the other lines. */
  #keepalive: number | undefined;

  constructor(context: SetContext) {
    this.#context = context;
  }

  /** @throws UapiError; then only `end` may follow */
  line(line: Buffer): void {
    this.#apply(parseSetLine(line, this.#section));
  }

  /** The request is complete, or broken off. */
  end(): void {
    this.#endPeer();
    this.#context.device.commit();
    this.#context.onChange?.();
  }

  #apply(line: SetLine): void {
    const { device, log } = this.#context;
    // Another connection may have removed it.
    const peer = this.#peer?.isRemoved ? undefined : this.#peer;
    switch (line.key) {
      case 'private_key':
        device.setPrivateKey(line.value);
        break;
      case 'listen_port':
        log.verbose('UAPI: Updating listen port');
        attempt('listen_port', () => device.setListenPort(line.value));
        break;
      case 'fwmark':
        log.verbose('UAPI: Updating fwmark');
        attempt('fwmark', () => device.setFwmark(line.value));
        break;
      case 'replace_peers':
        log.verbose('UAPI: Removing all peers');
        device.removeAllPeers();
        break;
      case 'public_key':
        this.#endPeer();
        this.#section = 'peer';
        this.#beginPeer(line.value);
        break;
      case 'update_only':
        if (peer && this.#created) this.#ignore(peer);
        break;
      case 'remove':
        if (peer) this.#ignore(peer);
        break;
      case 'preshared_key':
        if (peer) device.setPresharedKey(peer, line.value);
        line.value.fill(0);
        break;
      case 'endpoint': {
        const endpoint = this.#resolve(line.value);
        if (peer) device.setEndpoint(peer, endpoint);
        break;
      }
      case 'persistent_keepalive_interval':
        this.#keepalive = line.value;
        break;
      case 'replace_allowed_ips':
        if (peer) device.disallowAll(peer);
        break;
      case 'allowed_ip':
        if (peer && line.remove) device.disallow(peer, line.value);
        else if (peer) device.allow(peer, line.value);
        break;
      case 'protocol_version':
        break; // there is only one
    }
  }

  /** A peer with the device's own public key is ignored, with all of its lines. */
  #beginPeer(publicKey: Uint8Array): void {
    const { device } = this.#context;
    const isOurs = device.publicKey?.every((byte, i) => byte === publicKey[i]) ?? false;
    this.#peer = isOurs ? undefined : device.peer(publicKey);
    this.#created = !isOurs && this.#peer === undefined;
    if (!this.#created) return;
    this.#peer = device.addPeer(publicKey);
    this.#tell(this.#peer, 'UAPI: Created');
  }

  #endPeer(): void {
    if (this.#peer && !this.#peer.isRemoved && this.#keepalive !== undefined) {
      this.#context.device.setPersistentKeepalive(this.#peer, this.#keepalive);
    }
    this.#peer = undefined;
    this.#keepalive = undefined;
  }

  /** Removes a peer. The rest of its lines are read, and have no effect. */
  #ignore(peer: Peer): void {
    this.#tell(peer, 'UAPI: Removed');
    this.#context.device.removePeer(peer);
    this.#peer = undefined;
  }

  #resolve({ address, port, zone }: EndpointText) {
    if (zone === undefined) return { address, port };
    const scope = /^\d{1,9}$/.test(zone) ? Number(zone) : this.#context.interfaceIndex(zone);
    if (scope === 0)
      throw new UapiError(UAPI_ERRNO.invalid, 'the endpoint names an interface that does not exist');
    return { address, port, scope };
  }

  #tell(peer: Peer, text: string): void {
    const { log } = this.#context;
    if (log.isVerbose) log.verbose(`${peerName(peer.publicKey.bytes)} - ${text}`);
  }
}

/**
 * Does something that the kernel may refuse. wireguard-go reports any refusal as a port in use; the kernel's message
 * says more.
 */
function attempt(key: string, action: () => void): void {
  try {
    action();
  } catch (error) {
    if (!(error instanceof LinuxError)) throw error;
    const errno = error.errno === ERRNO.EPERM ? ERRNO.EPERM : UAPI_ERRNO.portInUse;
    throw new UapiError(errno, `failed to set ${key}: ${error.message}`, { cause: error });
  }
}

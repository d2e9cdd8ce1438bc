import { formatAddress, isIpv4Mapped } from '../../ip/address.js';
import type { Endpoint } from '../../ip/endpoint.js';
import type { Prefix } from '../../ip/prefix-table.js';
import type { SocketEndpoint } from '../../tunnel/engine.js';
import type { Peer } from '../../wireguard/peer.js';
import type { WireGuardInterface } from '../interface.js';

/** An answer is made in parts of about this many bytes. */
const CHUNK = 65_536;
/** Room for what is written between two checks of a part's length. */
const MARGIN = 1024;

/**
 * The answer to `get=1`, without its `errno`: the keys in wireguard-go's order. In parts; erase each after it was sent.
 * Peers that are removed between two parts are left out.
 */
export const describe = (device: WireGuardInterface): Generator<Buffer, void, void> => lines(device, true);

/** The lines of a `set=1` request that configures a new device like this one, as it is now. Erase them after use. */
export const describeConfiguration = (device: WireGuardInterface): Generator<Buffer, void, void> =>
  lines(device, false);

function* lines(device: WireGuardInterface, withStatistics: boolean): Generator<Buffer, void, void> {
  const text = new Text();
  const { privateKey, listenPort, fwmark } = device;
  if (privateKey) text.key('private_key', privateKey);
  if (listenPort !== 0) text.line(`listen_port=${listenPort}`);
  if (fwmark !== 0) text.line(`fwmark=${fwmark}`);
  for (const peer of [...device.peers]) {
    if (peer.isRemoved) continue;
    describePeer(device, peer, text, withStatistics);
    if (text.isFull) yield text.take();
    for (const prefix of device.allowedIpsOf(peer)) {
      text.line(`allowed_ip=${formatPrefix(prefix)}`);
      if (text.isFull) yield text.take();
    }
  }
  yield text.take();
}

function describePeer(device: WireGuardInterface, peer: Peer, text: Text, withStatistics: boolean): void {
  text.key('public_key', peer.publicKey.bytes);
  text.key('preshared_key', peer.presharedKey);
  text.line('protocol_version=1');
  if (peer.endpoint) text.line(`endpoint=${formatWithScope((peer.endpoint as SocketEndpoint).remote)}`);
  if (withStatistics) describeStatistics(device, peer, text);
  text.line(`persistent_keepalive_interval=${Math.round(peer.persistentKeepalive / 1000)}`);
}

function describeStatistics(device: WireGuardInterface, peer: Peer, text: Text): void {
  const { received, sent } = device.transfer(peer);
  text.line(`last_handshake_time_sec=${Math.floor(peer.lastHandshake / 1000)}`);
  text.line(`last_handshake_time_nsec=${Math.round((peer.lastHandshake % 1000) * 1e6)}`);
  text.line(`tx_bytes=${sent}`);
  text.line(`rx_bytes=${received}`);
}

/** The answer to `get=drops`, without its `errno`: a line for each reason that has occurred. */
export function describeDrops(device: WireGuardInterface): Buffer {
  const lines = [...device.drops()].filter(([, count]) => count > 0);
  return Buffer.from(lines.map(([reason, count]) => `${reason}=${count}\n`).join(''));
}

/** Includes the interface's number, without which a link-local address is useless. */
function formatWithScope({ address, port, scope = 0 }: Endpoint): string {
  const text = formatAddress(address);
  if (address.length === 4) return `${text}:${port}`;
  return scope === 0 ? `[${text}]:${port}` : `[${text}%${scope}]:${port}`;
}

function formatPrefix({ address, length }: Prefix): string {
  const text = formatAddress(address);
  return address.length === 16 && isIpv4Mapped(address) ? `::ffff:${text}/${length}` : `${text}/${length}`;
}

/** Lines in a buffer, which, unlike a string, can be erased. */
class Text {
  #bytes = Buffer.alloc(CHUNK);
  #length = 0;

  get isFull(): boolean {
    return this.#length > CHUNK - MARGIN;
  }

  line(line: string): void {
    this.#length += this.#bytes.write(`${line}\n`, this.#length, 'latin1');
  }

  key(name: string, bytes: Readonly<Uint8Array>): void {
    this.#length += this.#bytes.write(`${name}=`, this.#length, 'latin1');
    for (const byte of bytes) {
      this.#bytes[this.#length++] = HEX[byte >> 4]!;
      this.#bytes[this.#length++] = HEX[byte & 15]!;
    }
    this.#bytes[this.#length++] = NEWLINE;
  }

  take(): Buffer {
    const taken = this.#bytes.subarray(0, this.#length);
    this.#bytes = Buffer.alloc(CHUNK);
    this.#length = 0;
    return taken;
  }
}

const HEX = Buffer.from('0123456789abcdef');
const NEWLINE = 0x0a;

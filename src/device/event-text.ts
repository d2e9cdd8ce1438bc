import type { MachineEvent } from '../wireguard/events.js';
import { MESSAGE_TYPE } from '../wireguard/messages.js';
import type { Peer } from '../wireguard/peer.js';

/**
 * The log's text for an event, in wireguard-go's words; undefined for events that are not logged, such as cookie
 * replies, which strangers can cause by the thousand.
 */
export function eventText(event: MachineEvent<Peer>): string | undefined {
  switch (event.kind) {
    case 'datagram':
      return SENT[event.bytes[0]!];
    case 'install-keypair':
      return event.keypair.initiator ? 'Received handshake response' : 'Received handshake initiation';
    case 'keepalive':
      return 'Sending keepalive packet';
    case 'use-keypair':
      return event.keypair && 'Session established';
    default:
      return undefined;
  }
}

const SENT: Readonly<Record<number, string>> = {
  [MESSAGE_TYPE.initiation]: 'Sending handshake initiation',
  [MESSAGE_TYPE.response]: 'Sending handshake response',
};

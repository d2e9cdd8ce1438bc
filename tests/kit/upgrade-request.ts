import { CHANNEL_PATH } from '../../src/protocol/channel.js';

/** A node's request for a WebSocket, RFC 6455 §4.1, for tests that write the bytes after it themselves. */
export const UPGRADE = [
  `GET ${CHANNEL_PATH} HTTP/1.1`,
  'Host: x',
  'Upgrade: websocket',
  'Connection: Upgrade',
  'Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==',
  'Sec-WebSocket-Version: 13',
  '\r\n',
].join('\r\n');

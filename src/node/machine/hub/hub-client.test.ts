import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FakeCrypto } from '../../../../tests/kit/fake-crypto.js';
import { SeededRandom } from '../../../../tests/kit/random.js';
import { NETWORK } from '../../../../tests/kit/small-hub.js';
import { ChannelResponder } from '../../../protocol/channel.js';
import { NetworkMap } from '../../../protocol/map.js';
import type { NodeMessage } from '../../../protocol/messages.js';
import { parseNodeMessage } from '../../../protocol/parse.js';
import { welcome } from '../../../protocol/versions.js';
import { HubClient } from './hub-client.js';
import type { HubCommand, HubEvent } from './hub-events.js';

const crypto = new FakeCrypto(new SeededRandom(9));
const END = { address: Uint8Array.of(203, 0, 113, 1), port: 443 };

test('if the connection breaks after the invitation, the caller accepts the network again before the node joins', () => {
  const hubKey = crypto.generate();
  const client = new HubClient({
    ...{ crypto, privateKey: crypto.generate(), hubKey: hubKey.publicKey.bytes, map: new NetworkMap() },
    ...{ program: 'node 1', addresses: [{ host: '203.0.113.1', port: 443, tls: false }] },
    member: { join: { secret: new Uint8Array(16), name: 'laptop', shares: [] } },
  });
  let now = 0;
  const told: (HubCommand | HubEvent)[] = [];
  const asked: NodeMessage[] = [];
  let hub: ChannelResponder;
  let connection = 0;
  const settle = (): void => {
    for (let output = client.poll(); output; output = client.poll()) {
      told.push(output);
      if (output.kind === 'dial') {
        connection = output.connection;
        hub = new ChannelResponder(crypto, hubKey, (_, hello) => welcome(hello, 'hub 1'));
        client.handleConnected(connection, END, END, now);
        client.handleOpened(connection, now);
      } else if (output.kind === 'send') {
        for (const event of hub.handle(output.bytes.slice())) {
          if (event.kind === 'send') client.handleMessage(connection, event.bytes, now);
          else if (event.kind === 'message') asked.push(parseNodeMessage(event.value));
        }
      }
    }
  };
  const show = (): void => {
    const value = { network: NETWORK };
    for (const bytes of hub.seal({ type: 'answer', re: asked.at(-1)!.id, value }))
      client.handleMessage(connection, bytes, now);
    settle();
  };
  const types = (): string[] => asked.map(({ type }) => type);

  client.start(now);
  settle();
  show();
  assert.equal(told.at(-1)?.kind, 'invitation');
  client.handleClosed(connection, 1006, now);
  settle();
  now = client.nextTimeout();
  client.handleTimeout(now);
  settle();
  assert.deepEqual(types(), ['check-invitation', 'check-invitation']);
  client.proceed(now); // what was shown at first suits
  settle();
  assert.deepEqual(types(), ['check-invitation', 'check-invitation']);
  show();
  client.proceed(now);
  settle();
  assert.deepEqual(types(), ['check-invitation', 'check-invitation', 'join']);
});

/*
 * A malicious hub in its own process. It has a real hub key, admits everyone, and sends each node what the test orders.
 * It prints JSON lines (its token, and each node that joins) and reads orders as JSON lines.
 */
import { createInterface } from 'node:readline';
import { NodeCrypto } from '../../src/crypto/node-crypto.js';
import type { Answers, HubMessage, MapNode, NetworkInfo } from '../../src/protocol/messages.js';
import { formatToken } from '../../src/protocol/token.js';
import { SmallHub, type SmallHubNode } from '../kit/small-hub.js';

export type Order =
  /** Sends a message to a node. */
  | { readonly to: string; readonly message: HubMessage }
  /** Closes a node's connection; the node reconnects. */
  | { readonly breakOff: string }
  /** Gives false information about the network in answers to this request. */
  | { readonly network: Partial<NetworkInfo>; readonly when: 'check-invitation' | 'join' | 'attach' }
  | { readonly you: Partial<Answers['attach']['you']> }
  /** What to do with relay frames. */
  | { readonly frames: Frames };
export type Frames = 'forward' | 'drop' | 'change' | 'repeat-and-reorder' | 'from-another';

const NETWORK: NetworkInfo = {
  id: 'n1',
  name: 'home',
  ipv4: '10.77.0.0/16',
  ipv6: 'fd77::/64',
  mtu: 1280,
};

interface Known extends MapNode {
  node: SmallHubNode;
}

const crypto = new NodeCrypto();
const key = crypto.generate();
const hub = new SmallHub(crypto, key);
const say = (value: object): void => void process.stdout.write(`${JSON.stringify(value)}\n`);
const known: Known[] = [];
const lies: Record<string, Partial<NetworkInfo>> = {};
let youLie: Partial<Answers['attach']['you']> = {};
let frames: Frames = 'forward';
const recorded: Uint8Array[] = [];

const you = ({ id, name, ipv4, ipv6 }: MapNode): Answers['attach']['you'] => ({
  ...{ id, name, ipv4, ipv6, admin: false, pending: false, shares: [] },
  ...youLie,
});
const network = (when: string): NetworkInfo => ({ ...NETWORK, ...lies[when] });
const byKey = (node: SmallHubNode): Known | undefined => {
  const text = Buffer.from(node.key).toString('base64');
  return known.find((each) => each.key === text);
};

hub.answer = (question, node) => {
  const found = byKey(node);
  switch (question.type) {
    case 'check-invitation':
      return { network: network('check-invitation') };
    case 'join': {
      const id = known.length + 1;
      const keyText = Buffer.from(node.key).toString('base64');
      const made = {
        id,
        name: question.name,
        key: keyText,
        ipv4: `10.77.0.${id}`,
        ipv6: `fd77::${id}`,
        shares: [],
      };
      known.push({ ...made, node });
      say({ joined: made });
      return { network: network('join'), you: you(made) };
    }
    case 'attach': {
      found!.node = node;
      say({ attached: found!.name });
      const relay = {
        port: 9,
        session: Buffer.alloc(8).toString('base64'),
        key: Buffer.alloc(32).toString('base64'),
      };
      return { network: network('attach'), you: you(found!), relay, addresses: [] };
    }
    case 'who':
      return { online: [] };
    case 'share':
      return { shares: [] };
    default:
      return {};
  }
};

hub.onFrame = (peer, datagram, node) => {
  const from = byKey(node)?.id;
  const to = known.find(({ id }) => id === peer)?.node;
  if (from === undefined || to === undefined || frames === 'drop') return;
  const copy = Uint8Array.from(datagram);
  if (frames === 'change') copy[copy.length - 1]! ^= 1;
  const claimed = frames === 'from-another' ? (from === 2 ? 3 : 2) : from;
  const send = (bytes: Uint8Array): void => to.sendFrame(claimed, bytes);
  if (frames !== 'repeat-and-reorder') {
    send(copy);
    return;
  }
  recorded.push(copy);
  if (recorded.length > 50) recorded.shift();
  setTimeout(() => send(copy), Math.random() * 20);
  for (const old of recorded.slice(-5)) send(old); // also to nodes that they are not for
};

const port = await hub.listen(443, '0.0.0.0');
const secret = new Uint8Array(16);
const addresses = [{ host: process.argv[2]!, port, tls: false }];
say({ token: formatToken({ hub: key.publicKey.bytes, secret, addresses }) });
for await (const line of createInterface({ input: process.stdin })) {
  const order = JSON.parse(line) as Order;
  if ('to' in order) known.find(({ name }) => name === order.to)?.node.send(order.message);
  else if ('breakOff' in order) known.find(({ name }) => name === order.breakOff)?.node.breakOff();
  else if ('network' in order) lies[order.when] = order.network;
  else if ('you' in order) youLie = order.you;
  else frames = order.frames;
}
process.exit(0);

import type { RunningHub } from '../../hub/start.js';
import type { NodeStatus } from '../../node/control/control.js';
import type { RunningNode } from '../../node/control/running-node.js';
import type { AdminAnswers } from '../../protocol/messages.js';

type Hub = Pick<RunningHub, 'administer' | 'network' | 'waiting'>;

/** How many pending nodes are named. */
const SHOWN = 5;

/**
 * A node on its hub's machine. Only root there can ask it anything, and root administers the network. So its own shares need
 * no approval, and its status lists pending nodes and shares.
 *
 * @param option `--state` for the commands in that list, as `optionFor` writes it
 */
export function withOwnHub(node: RunningNode, hub: Hub, option = ''): RunningNode {
  if (node.status().network.id !== hub.network.id) return node;
  return {
    ended: node.ended,
    get isEnding() {
      return node.isEnding;
    },
    status: () => withWaiting(node.status(), hub, option),
    ping: (name, sequence) => node.ping(name, sequence),
    trust: (name) => node.trust(name),
    leave: (force) => node.leave(force),
    readdress: (hubKey, addresses) => node.readdress(hubKey, addresses),
    admin: (request) => node.admin(request),
    close: () => node.close(),
    async share(shares) {
      const offered = await node.share(shares);
      const waiting = offered.filter(({ state }) => state === 'pending').map(({ network }) => network);
      if (shares === undefined || waiting.length === 0) return offered;
      const request = { op: 'approve', node: String(node.status().self.id), shares: waiting } as const;
      return ((await hub.administer(request)) as AdminAnswers['approve']).shares;
    },
  };
}

function withWaiting(status: NodeStatus, hub: Hub, option: string): NodeStatus {
  const waiting = hub.waiting().filter(({ name }) => name !== status.self.name);
  if (waiting.length === 0) return status;
  const text = waiting.map(({ name, shares }) =>
    shares === undefined
      ? `${name} is pending approval; to approve it, run: lametun approve${option} ${name}`
      : `${name} wants to share ${shares.join(', ')}; to approve that, run: lametun approve${option} ${name}`,
  );
  const more = text.length - SHOWN;
  const warnings =
    more > 0
      ? [
          ...text.slice(0, SHOWN),
          `${more} more nodes are pending approval; for a list, run: lametun nodes${option}`,
        ]
      : text;
  return { ...status, warnings: [...status.warnings, ...warnings] };
}

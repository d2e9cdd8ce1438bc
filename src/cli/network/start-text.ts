import type { NodeStatus } from '../../node/control/control.js';
import type { AdminAnswers } from '../../protocol/messages.js';
import type { HubAddress } from '../../protocol/token.js';
import { inviteText, shareText } from './admin-text.js';

/** What the terminal shows once a hub, a node or both are up. */

export interface HubUp {
  readonly network: string;
  readonly port: number;
  /** The addresses of `--public`: perhaps a proxy's or a NAT's, with other ports. */
  readonly outside: readonly HubAddress[];
  readonly invitation?: AdminAnswers['invite'] | undefined;
}

/**
 * @param now milliseconds since 1970
 * @param option `--state` for the commands of this machine, as `optionFor` writes it
 */
export function startText(
  hub: HubUp | undefined,
  node: NodeStatus | undefined,
  now: number,
  option = '',
): string {
  const lines: string[] = [];
  if (node !== undefined) {
    const { self, network } = node;
    lines.push(
      self.pending
        ? `${self.name} has asked to join ${network.name} and is pending approval. To approve it, run on the hub: lametun approve ${self.name}`
        : `${self.fullName} is up: ${self.ipv4}, ${self.ipv6}, interface ${self.interface}`,
    );
  }
  if (node?.self.wished !== undefined)
    lines.push(
      `The name ${node.self.wished} is taken, so this node is called ${node.self.name}. To rename it, run on the hub: lametun rename ${node.self.name} NAME`,
    );
  if (node?.hub.state === 'away' || node?.hub.state === 'refused') lines.push(hubLine(node.hub));
  const shares = node?.shares ?? [];
  if (shares.length > 0) lines.push(`Shared networks: ${shares.map(shareText).join(', ')}`);
  if (node !== undefined && !node.self.pending && shares.some(({ state }) => state === 'pending'))
    lines.push(`To approve them, run on the hub: lametun approve ${node.self.name}`);
  if (hub !== undefined) lines.push(`The hub of ${hub.network} is up.`);
  if (hub?.invitation !== undefined)
    lines.push('', inviteText(hub.invitation, `For more tokens, run: lametun invite${option}`, now));
  else if (hub !== undefined) lines.push(`To invite a machine, run: lametun invite${option}`);
  if (hub !== undefined) lines.push(...portLines(hub, node));
  return lines.join('\n');
}

function hubLine({ state, address, why = 'unknown reason' }: NodeStatus['hub']): string {
  const where = address === undefined ? 'the hub' : `the hub at ${address}`;
  return state === 'refused'
    ? `Refused by ${where}: ${why}`
    : `Cannot reach ${where}: ${why}. lametun keeps trying; direct tunnels to other members still work.`;
}

/** Which ports to open, and what a proxy or a NAT in front of this machine must forward. */
function portLines({ port, outside }: HubUp, node: NodeStatus | undefined): readonly string[] {
  const direct = `UDP ${node?.self.port}`;
  const hub = `TCP ${port} and UDP ${port}`;
  const others = outside.filter((address) => address.tls || address.port !== port);
  if (others.length === 0)
    return [
      node === undefined
        ? `Open these ports to this machine: ${hub}.`
        : `Open these ports to this machine: ${hub} for the hub, ${direct} for direct tunnels.`,
    ];
  // Nodes expect the relay at the address where they reach the hub, on the hub's own port.
  const relay = `UDP ${port} to UDP ${port}. Without UDP, traffic is relayed over the WebSocket, which is slower.`;
  return [
    ...others.map(({ host, port: outer, tls }) =>
      tls
        ? `Open TCP ${outer} on ${host}. Its proxy must pass WebSockets for /lametun to TCP ${port} of this machine. Also forward ${relay}`
        : `Forward TCP ${outer} of ${host} to TCP ${port} of this machine, and ${relay}`,
    ),
    ...(outside.length > others.length ? [`Open these ports to this machine: ${hub}.`] : []),
    ...(node === undefined ? [] : [`Also open ${direct} to this machine for direct tunnels.`]),
  ];
}

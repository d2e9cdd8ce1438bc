import type { NodeStatus } from '../../node/control/control.js';
import type { AdminAnswers } from '../../protocol/messages.js';
import type { HubAddress } from '../../protocol/token.js';
import { shareText } from './admin-text.js';
import { durationText } from './table.js';

/** What is said when a hub, a node or both are up. */

export interface HubUp {
  readonly network: string;
  readonly port: number;
  /** Where others reach it, by `--public`: on another machine, perhaps, or by other ports. */
  readonly outside: readonly HubAddress[];
  readonly invitation?: AdminAnswers['invite'] | undefined;
}

/** @param now milliseconds since 1970 */
export function startText(hub: HubUp | undefined, node: NodeStatus | undefined, now: number): string {
  const lines: string[] = [];
  if (node !== undefined) {
    const { self, network } = node;
    lines.push(
      self.pending
        ? `${self.name} has asked to join ${network.name}: an administrator lets it in by \`lametun approve ${self.name}\` on the hub's machine`
        : `${self.fullName} is up: ${self.ipv4}, ${self.ipv6}, interface ${self.device}`,
    );
  }
  if (node?.self.wished !== undefined)
    lines.push(
      `The name ${node.self.wished} is taken, so this node is called ${node.self.name}; to change that: \`lametun rename ${node.self.name} NAME\` on the hub's machine`,
    );
  if (node?.hub.state === 'away' || node?.hub.state === 'refused') lines.push(hubLine(node.hub));
  const shares = node?.shares ?? [];
  if (shares.length > 0) lines.push(`It shares ${shares.map(shareText).join(', ')}`);
  if (node !== undefined && !node.self.pending && shares.some(({ state }) => state === 'pending'))
    lines.push(
      `An administrator approves that by \`lametun approve ${node.self.name}\`, on the hub's machine`,
    );
  if (hub !== undefined) lines.push(`The hub of ${hub.network} is up.`);
  if (hub?.invitation !== undefined) lines.push(...invitationLines(hub.invitation, now));
  else if (hub !== undefined) lines.push('`lametun invite` makes a line by which a machine joins.');
  if (hub !== undefined) lines.push(...portLines(hub, node));
  return lines.join('\n');
}

function hubLine({ state, address, why = 'no reason is known' }: NodeStatus['hub']): string {
  const where = address === undefined ? 'The hub' : `The hub at ${address}`;
  return state === 'refused'
    ? `${where} refuses this node: ${why}`
    : `${where} is not reached (${why}); lametun keeps trying, and members who can be reached directly are reached`;
}

/** Which ports are to be open, and where something else is in front of this machine, what that is to pass on. */
function portLines({ port, outside }: HubUp, node: NodeStatus | undefined): readonly string[] {
  const direct = `UDP ${node?.self.port} for direct tunnels, without which others are relayed`;
  const others = outside.filter((address) => address.tls || address.port !== port);
  if (others.length === 0)
    return [
      `Ports to open towards this machine: TCP ${port} and UDP ${port}${node === undefined ? '' : `; ${direct}`}.`,
    ];
  // Nodes take the relay to be at the address where they reach the hub, by the hub's own port.
  const relay = `UDP ${port} to UDP ${port}, else packets are relayed through the WebSocket, which is slower`;
  return [
    ...others.map(({ host, port: outer, tls }) =>
      tls
        ? `Open TCP ${outer} of ${host}; the proxy there passes WebSockets for /lametun on to TCP ${port} of this machine. Forward ${relay}.`
        : `Open TCP ${outer} of ${host}, and forward it to TCP ${port} of this machine; and ${relay}.`,
    ),
    ...(outside.length > others.length
      ? [`Ports to open towards this machine: TCP ${port} and UDP ${port}.`]
      : []),
    ...(node === undefined ? [] : [`Open towards this machine, too: ${direct}.`]),
  ];
}

function invitationLines(
  { token, expiresAt, addresses, warnings }: AdminAnswers['invite'],
  now: number,
): readonly string[] {
  return [
    '',
    'On another machine, as root:',
    '',
    `lametun join ${token}`,
    '',
    `That works once, within ${durationText(expiresAt - now)}; for more: lametun invite`,
    `Addresses of this hub in it: ${addresses.join(', ')}`,
    ...warnings.map((warning) => `Warning: ${warning}`),
  ];
}

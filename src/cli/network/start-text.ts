import type { NodeStatus } from '../../network/control.js';
import type { AdminAnswers } from '../../wire/messages.js';
import { shareText } from './admin-text.js';
import { durationText } from './table.js';

/** What is said when a hub, a node or both are up. */

export interface HubUp {
  readonly network: string;
  readonly port: number;
  readonly invitation?: AdminAnswers['invite'] | undefined;
}

/** @param now milliseconds since 1970 */
export function startText(hub: HubUp | undefined, node: NodeStatus | undefined, now: number): string {
  const lines: string[] = [];
  if (node !== undefined) {
    const { self, network } = node;
    lines.push(
      self.pending
        ? `${self.name} has asked to join ${network.name}: an administrator lets it in by \`lametun approve ${self.name}\``
        : `${self.fullName} is up: ${self.ipv4}, ${self.ipv6}, interface ${self.device}`,
    );
  }
  const shares = node?.shares ?? [];
  if (shares.length > 0) lines.push(`It shares ${shares.map(shareText).join(', ')}`);
  if (node !== undefined && !node.self.pending && shares.some(({ state }) => state === 'pending'))
    lines.push(
      `An administrator approves that by \`lametun approve ${node.self.name}\`, on the hub's machine`,
    );
  if (hub !== undefined) lines.push(`The hub of ${hub.network} is up.`);
  if (hub?.invitation !== undefined) lines.push(...invitationLines(hub.invitation, now));
  else if (hub !== undefined) lines.push('`lametun invite` makes a line by which a machine joins.');
  if (hub !== undefined) {
    const direct =
      node === undefined
        ? ''
        : `; UDP ${node.self.port} for direct tunnels, without which others are relayed`;
    lines.push(`Ports to open towards this machine: TCP ${hub.port} and UDP ${hub.port}${direct}.`);
  }
  return lines.join('\n');
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

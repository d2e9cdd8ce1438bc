import {
  type AdminAnswers,
  type InviteRow,
  type NodeRow,
  type OfferedShare,
  TWIN_ADVICE,
} from '../../protocol/messages.js';
import { durationText, table } from './table.js';

/** The answers to administrators, for people. `now` in milliseconds since 1970. */

/** What an invitation looks like: the line to paste stands alone. */
export function inviteText(
  { token, invite, expiresAt, maxUses, addresses, warnings }: AdminAnswers['invite'],
  now: number,
): string {
  const often = maxUses === 1 ? 'once' : `for ${maxUses} machines`;
  return [
    'On the machine that is to join, as root:',
    '',
    `lametun join ${token}`,
    '',
    `It works ${often}, within ${durationText(expiresAt - now)}; take it back by: lametun revoke ${invite}`,
    `Addresses of the hub in it: ${addresses.join(', ')}`,
    ...warnings.map((warning) => `Warning: ${warning}`),
  ].join('\n');
}

export function invitesText(invites: readonly InviteRow[], now: number): string {
  if (invites.length === 0) return 'There are no invitations: lametun invite makes one';
  const row = ({ id, state, expiresAt, uses, maxUses, admin, shares, usedBy }: InviteRow): string[] => [
    id,
    state,
    state === 'open' ? `for ${durationText(expiresAt - now)}` : '',
    [
      maxUses === 1 ? 'once' : `reusable, ${uses} of ${maxUses} used`,
      ...(admin ? ['admin'] : []),
      ...shares.map((share) => `share ${share}`),
    ].join(', '),
    usedBy.join(', '),
  ];
  return table([['INVITE', 'STATE', 'VALID', 'FOR', 'USED BY'], ...invites.map(row)]).join('\n');
}

export function nodesText(nodes: readonly NodeRow[], now: number): string {
  const row = (node: NodeRow): string[] => [
    node.name,
    node.ipv4 ?? '-',
    node.ipv6 ?? '-',
    node.pending ? 'waits for approval' : node.online ? 'online' : offlineText(node),
    node.admin ? 'admin' : '',
    `${durationText(now - node.joinedAt)} ago`,
    node.offered.map(shareText).join(', '),
  ];
  const rows = nodes.map(row);
  const twins = nodes.flatMap(({ name, twins }) =>
    twins === undefined
      ? []
      : [`Warning: two machines, ${twins.join(' and ')}, connect with the key of ${name}: ${TWIN_ADVICE}`],
  );
  return [
    ...table([['NODE', 'IPV4', 'IPV6', 'STATE', 'ROLE', 'JOINED', 'SHARES'], ...rows]),
    ...(twins.length > 0 ? ['', ...twins] : []),
  ].join('\n');
}

const offlineText = ({ awayFor }: NodeRow): string =>
  awayFor === undefined ? 'offline' : `offline for ${durationText(awayFor)}`;

/** `192.168.1.0/24 (waits for approval)`. */
export function shareText({ network, state, why }: OfferedShare): string {
  if (state === 'approved') return network;
  return `${network} (${state === 'pending' ? 'waits for approval' : `refused: ${why ?? 'no reason given'}`})`;
}

export function approveText({ name, shares }: AdminAnswers['approve']): string {
  const approved = shares.filter(({ state }) => state === 'approved').map(({ network }) => network);
  return [
    `${name} is in the network${approved.length > 0 ? `, and shares ${approved.join(', ')}` : ''}`,
    ...shares.filter(({ state }) => state !== 'approved').map((share) => `not shared: ${shareText(share)}`),
  ].join('\n');
}

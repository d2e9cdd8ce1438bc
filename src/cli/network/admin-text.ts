import type { AdminAnswers, InviteRow, NodeRow, OfferedShare } from '../../protocol/messages.js';
import { TWIN_ADVICE } from '../../protocol/text.js';
import { durationText, table } from './table.js';

/** Answers to administrators as text. `now` is in milliseconds since 1970. */

/**
 * How to use an invitation. The command to paste stands on its own line.
 *
 * @param advice what to run next
 */
export function inviteText(
  { token, expiresAt, maxUses, addresses, warnings }: AdminAnswers['invite'],
  advice: string,
  now: number,
): string {
  const uses = maxUses === 1 ? 'once' : `for ${maxUses} machines`;
  return [
    'To add a machine, run this on it as root:',
    '',
    `lametun join ${token}`,
    '',
    `The token works ${uses} and expires in ${durationText(expiresAt - now)}. ${advice}`,
    `Hub addresses in the token: ${addresses.join(', ')}`,
    ...warnings.map((warning) => `Warning: ${warning}`),
  ].join('\n');
}

export function invitesText(invites: readonly InviteRow[], now: number): string {
  if (invites.length === 0) return 'No invitations. To make one, run: lametun invite';
  const row = ({ id, state, expiresAt, uses, maxUses, admin, shares, usedBy }: InviteRow): string[] => [
    id,
    state,
    state === 'open' ? `in ${durationText(expiresAt - now)}` : '',
    `${uses} of ${maxUses}`,
    [...(admin ? ['admin'] : []), ...shares.map((share) => `share ${share}`)].join(', '),
    usedBy.join(', '),
  ];
  return table([['ID', 'STATE', 'EXPIRES', 'USES', 'GRANTS', 'USED BY'], ...invites.map(row)]).join('\n');
}

export function nodesText(nodes: readonly NodeRow[], now: number): string {
  const row = (node: NodeRow): string[] => [
    node.name,
    node.ipv4 ?? '-',
    node.ipv6 ?? '-',
    node.pending ? 'pending approval' : node.online ? 'online' : offlineText(node),
    node.admin ? 'admin' : '',
    `${durationText(now - node.joinedAt)} ago`,
    node.offered.map(shareText).join(', '),
  ];
  const rows = nodes.map(row);
  const twins = nodes.flatMap(({ name, twins }) =>
    twins === undefined
      ? []
      : [`Warning: two machines, ${twins.join(' and ')}, use the key of ${name}: ${TWIN_ADVICE}`],
  );
  return [
    ...table([['NODE', 'IPV4', 'IPV6', 'STATE', 'ROLE', 'JOINED', 'SHARES'], ...rows]),
    ...(twins.length > 0 ? ['', ...twins] : []),
  ].join('\n');
}

const offlineText = ({ awayFor }: NodeRow): string =>
  awayFor === undefined ? 'offline' : `offline for ${durationText(awayFor)}`;

/** `192.168.1.0/24 (pending approval)`. */
export function shareText({ network, state, why }: OfferedShare): string {
  if (state === 'approved') return network;
  return `${network} (${state === 'pending' ? 'pending approval' : `refused: ${why ?? 'no reason given'}`})`;
}

export function approveText({ name, shares }: AdminAnswers['approve']): string {
  const approved = shares.filter(({ state }) => state === 'approved').map(({ network }) => network);
  return [
    `Approved ${name}${approved.length > 0 ? `, which shares ${approved.join(', ')}` : ''}`,
    ...shares.filter(({ state }) => state !== 'approved').map((share) => `Not shared: ${shareText(share)}`),
  ].join('\n');
}

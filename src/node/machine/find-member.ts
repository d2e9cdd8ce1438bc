import { LametunError } from '../../errors.js';
import { formatAddress, parseAddress } from '../../ip/address.js';
import type { Member, Self } from './members.js';

/** What a user may name a node by. */
type Named = Pick<Self, 'id' | 'name' | 'ipv4' | 'ipv6'>;

/**
 * Finds a member by its name, short or full, its id or its member address.
 *
 * @param network the network's name
 * @param you this node, which is not among the members
 * @throws LametunError `usage`
 */
export function findMember(text: string, members: Iterable<Member>, network: string, you: Named): Member {
  const wanted = text.toLowerCase().replace(`.${network}.lametun`, '');
  const address = parseAddress(wanted);
  const canonical = address === undefined ? wanted : formatAddress(address);
  const isMeant = ({ id, name, ipv4, ipv6 }: Named): boolean =>
    [name, ipv4, ipv6, String(id)].includes(canonical);
  for (const member of members) if (isMeant(member)) return member;
  throw new LametunError(
    'usage',
    isMeant(you) ? `${text} is this node itself` : `no node ${text}: \`lametun status\` lists them`,
  );
}

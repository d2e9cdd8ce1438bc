import { LametunError } from '../../errors.js';
import { formatAddress, parseAddress } from '../../ip/address.js';
import type { Member, Self } from './members.js';

/** By what a person may mean a node. */
type Named = Pick<Self, 'id' | 'name' | 'ipv4' | 'ipv6'>;

/**
 * The member that is meant by a name, short or whole, a number or an inner address.
 *
 * @param network its name
 * @param you this node itself, which is not among the members
 * @throws LametunError `usage` when it is none of them
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
    isMeant(you) ? `${text} is this node itself` : `there is no node ${text}: \`lametun status\` lists them`,
  );
}

import { isCanonical } from '../ip/canonical.js';
import { isNetwork, KEY, LIMIT } from './fields.js';
import { isLabel } from './label.js';

/**
 * Whether every entry of a list is a `MapNode`: the same as the schema in a tenth of the time, for maps of thousands. If not,
 * the schema tells why.
 */
export function areMapNodes(value: unknown): boolean {
  return Array.isArray(value) && value.length <= LIMIT.nodes && value.every(isMapNode);
}

/** Without `ipv4Only`, which few have. */
const FIELDS = 6;

function isMapNode(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return false;
  const { id, name, key, ipv4, ipv6, ipv4Only, shares } = value as Readonly<Record<string, unknown>>;
  let fields = 0;
  for (const _ in value) fields++;
  return (
    (ipv4Only === undefined ? fields === FIELDS : ipv4Only === true && fields === FIELDS + 1) &&
    Number.isInteger(id) &&
    (id as number) >= 1 &&
    (id as number) < 2 ** 32 &&
    typeof name === 'string' &&
    isLabel(name) &&
    typeof key === 'string' &&
    KEY.test(key) &&
    typeof ipv4 === 'string' &&
    isCanonical(ipv4, 4) &&
    typeof ipv6 === 'string' &&
    isCanonical(ipv6, 16) &&
    Array.isArray(shares) &&
    shares.length <= LIMIT.shares &&
    shares.every((share) => typeof share === 'string' && isNetwork(share))
  );
}

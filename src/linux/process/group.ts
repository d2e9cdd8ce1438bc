import { declare, libc } from '../ffi/libc.js';
import { allocate } from '../ffi/memory.js';

/** `struct group` of grp.h: name pointer, password pointer, gid u32, members pointer. */
const GROUP = { gid: 16, size: 24 } as const;

const getgrnam = declare<[name: string]>('intptr_t getgrnam(const char *name)');
const getgrgid = declare<[gid: number]>('intptr_t getgrgid(unsigned int gid)');

/**
 * Looks up a group of the system, in /etc/group or a directory service.
 *
 * @param group a name or a number
 * @returns its number; undefined if there is no such group
 */
export function groupNumber(group: string): number | undefined {
  const found = /^\d{1,9}$/.test(group) ? getgrgid(Number(group)) : getgrnam(group);
  if (found === 0) return undefined;
  const { view, address } = allocate(GROUP.size);
  libc.memcpy(address, found, GROUP.size);
  return view.getUint32(GROUP.gid, true);
}

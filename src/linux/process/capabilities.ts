import { closeSync, constants, openSync, statSync } from 'node:fs';
import { STARTED_WITH } from '../../self.js';
import { call, declare, libc } from '../ffi/libc.js';
import { allocate, type Memory, writeUint64 } from '../ffi/memory.js';

/** linux/capability.h: the capabilities that are needed, and the one that is needed to drop the others. */
const CAP = { DAC_OVERRIDE: 1, DAC_READ_SEARCH: 2, SETPCAP: 8, NET_BIND_SERVICE: 10, NET_ADMIN: 12 } as const;

/**
 * What a process that moves packets needs: for the device, its addresses, routes and rules, socket marks and buffers
 * (also for `ip`, `nft` and `resolvectl`, which it runs); and for a port below 1024. Root's own files need nothing.
 */
export const NEEDED = ['NET_ADMIN', 'NET_BIND_SERVICE'] as const satisfies readonly (keyof typeof CAP)[];

/**
 * What it also needs if the program, or a file that an argument names, is in a home directory that others cannot enter:
 * without it, root has no access there.
 */
export const NEEDED_IN_HOMES = 'DAC_READ_SEARCH' satisfies keyof typeof CAP;

/** linux/prctl.h. */
const PR_CAPBSET_READ = 23;
const PR_CAPBSET_DROP = 24;
const PR_SET_NO_NEW_PRIVS = 38;

/**
 * `struct __user_cap_header_struct` and two of `__user_cap_data_struct`, linux/capability.h: 32 capabilities in each.
 */
const HEADER = { version: 0, pid: 4, size: 8 } as const;
const DATA = { effective: 0, permitted: 4, inheritable: 8, each: 12, size: 24 } as const;
const VERSION_3 = 0x20080522;

/** asm-generic/fcntl.h. */
const F_SETFD = 2;

const prctl = declare<[option: number, number, number, number, number]>(
  'int prctl(int option, unsigned long, unsigned long, unsigned long, unsigned long)',
);
const capget = declare<[header: number, data: number]>('int capget(intptr_t header, intptr_t data)');
const capset = declare<[header: number, data: number]>('int capset(intptr_t header, intptr_t data)');
const execv = declare<[path: string, args: number]>('int execv(const char *path, intptr_t arguments)');

/**
 * Limits the capabilities of this process, all its threads and all programs that it starts.
 *
 * Each thread has its own capabilities, and Node starts threads before the first line of JavaScript. So the calling
 * thread drops the capabilities, and the program is executed again: execve(2) ends all other threads, keeps the
 * process, and grants nothing outside the calling thread's bounding set. Call it before anything is open or read. It
 * returns if there is nothing (more) to drop, or if this process may not drop anything.
 *
 * @param descriptors that this process was started with and needs, besides standard input and output
 * @throws LinuxError
 */
export function limitProcess(descriptors: readonly number[] = []): void {
  if (limitChildren()) executeAgain(descriptors);
}

/**
 * Limits the capabilities of programs that the calling thread starts from now on, without a way to get more.
 *
 * @returns whether they could have had more before
 * @throws LinuxError
 */
export function limitChildren(): boolean {
  const kept = new Set<number>(NEEDED.map((name) => CAP[name]));
  const excess: number[] = [];
  // EINVAL: beyond the last one that this kernel knows.
  for (let i = 0, has = 0; has >= 0; i++) {
    has = prctl(PR_CAPBSET_READ, i, 0, 0, 0);
    if (has === 1 && !kept.has(i)) excess.push(i);
  }
  if (excess.length === 0) return false;
  const header = allocate(HEADER.size);
  const data = allocate(DATA.size);
  header.view.setUint32(HEADER.version, VERSION_3, true);
  call(capget(header.address, data.address), 'capget');
  // Without it the bounding set stays: whoever removed it has chosen the others too.
  if ((data.view.getUint32(DATA.effective, true) & (1 << CAP.SETPCAP)) === 0) return false;
  if (readsOthersFiles(header.address, data)) kept.add(CAP[NEEDED_IN_HOMES]);
  for (const capability of excess.filter((each) => !kept.has(each)))
    call(prctl(PR_CAPBSET_DROP, capability, 0, 0, 0), 'PR_CAPBSET_DROP');
  // Inheritable capabilities would bypass the bounding set; ambient ones go with them.
  for (let i = 0; i < 64; i++) {
    if (kept.has(i)) continue;
    const at = (i >> 5) * DATA.each + DATA.inheritable;
    data.view.setUint32(at, data.view.getUint32(at, true) & ~(1 << (i & 31)), true);
  }
  call(capset(header.address, data.address), 'capset');
  call(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 'PR_SET_NO_NEW_PRIVS');
  return true;
}

/** Whether reading the program, or a file that an argument names, needs more than file permissions allow. */
function readsOthersFiles(header: number, data: Memory): boolean {
  const effective = data.view.getUint32(DATA.effective, true);
  const others = (1 << CAP.DAC_OVERRIDE) | (1 << CAP.DAC_READ_SEARCH);
  const set = (capabilities: number): void => {
    data.view.setUint32(DATA.effective, capabilities >>> 0, true);
    call(capset(header, data.address), 'capset');
  };
  set(effective & ~others);
  try {
    const words = process.argv.slice(1).flatMap((word) => [word, word.slice(word.indexOf('=') + 1)]);
    return [process.execPath, ...words].some(isForbidden);
  } finally {
    set(effective);
  }
}

function isForbidden(path: string): boolean {
  try {
    if (statSync(path).isFile()) closeSync(openSync(path, constants.O_RDONLY));
    return false;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EACCES';
  }
}

/** Executes the program again with the same arguments and environment. Node's descriptors are all close-on-exec. */
function executeAgain(descriptors: readonly number[]): never {
  for (const fd of [0, 1, 2, ...descriptors, ...namedIn(process.argv)]) libc.fcntl(fd, F_SETFD, 0);
  const words = [process.argv0, ...STARTED_WITH].map((word) => Buffer.from(`${word}\0`));
  const text = allocate(words.reduce((sum, { length }) => sum + length, 0));
  const pointers = allocate(8 * (words.length + 1));
  let at = 0;
  for (const [i, word] of words.entries()) {
    writeUint64(pointers.view, 8 * i, text.address + at);
    text.bytes.set(word, at);
    at += word.length;
  }
  call(execv(process.execPath, pointers.address), `execute ${process.execPath} again`);
  throw new Error('execv(3) returned');
}

/** A shell's `<(...)` is an argument such as `/dev/fd/63`. */
const namedIn = (args: readonly string[]): number[] =>
  args.flatMap((arg) =>
    [...arg.matchAll(/\/(?:dev|proc\/self)\/fd\/(\d{1,9})/g)].map(([, fd]) => Number(fd)),
  );

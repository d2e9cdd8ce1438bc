import { closeSync, constants, openSync, statSync } from 'node:fs';
import koffi from 'koffi';
import { call, libc } from '../ffi/libc.js';
import { allocate, type Memory, writeUint64 } from '../ffi/memory.js';

/** linux/capability.h: those that something here needs, and the one by which the others are given up. */
const CAP = { DAC_OVERRIDE: 1, DAC_READ_SEARCH: 2, SETPCAP: 8, NET_BIND_SERVICE: 10, NET_ADMIN: 12 } as const;

/**
 * What a process needs that moves packets: the device, its addresses, routes and rules, marks and buffers of sockets (also
 * for `ip`, `nft` and `resolvectl`, which it runs); and a port below 1024. Root's own files need nothing.
 */
export const NEEDED = ['NET_ADMIN', 'NET_BIND_SERVICE'] as const satisfies readonly (keyof typeof CAP)[];

/**
 * What it needs besides where the program, or a file that an argument names, lies in somebody's home that others cannot
 * enter: root has no right of its own there.
 */
export const NEEDED_IN_HOMES = 'DAC_READ_SEARCH' satisfies keyof typeof CAP;

/** linux/prctl.h. */
const PR_CAPBSET_READ = 23;
const PR_CAPBSET_DROP = 24;
const PR_SET_NO_NEW_PRIVS = 38;

/** `struct __user_cap_header_struct` and two of `__user_cap_data_struct`, linux/capability.h: 32 capabilities in each. */
const HEADER = { version: 0, pid: 4, size: 8 } as const;
const DATA = { effective: 0, permitted: 4, inheritable: 8, each: 12, size: 24 } as const;
const VERSION_3 = 0x20080522;

/** asm-generic/fcntl.h. */
const F_SETFD = 2;

const process_ = koffi.load(null);
const prctl = process_.func(
  'int prctl(int option, unsigned long, unsigned long, unsigned long, unsigned long)',
) as (option: number, ...args: [number, number, number, number]) => number;
const capget = process_.func('int capget(intptr_t header, intptr_t data)') as (
  a: number,
  b: number,
) => number;
const capset = process_.func('int capset(intptr_t header, intptr_t data)') as (
  a: number,
  b: number,
) => number;
const execv = process_.func('int execv(const char *path, intptr_t arguments)') as (
  path: string,
  args: number,
) => number;

/**
 * Leaves this process, all of its threads and all programs that it starts only some capabilities.
 *
 * Capabilities are each thread's own, and Node has started threads before the first line of JavaScript. So the calling
 * thread gives up what the others must not have either, and the program is executed once more: execve(2) ends all other
 * threads, keeps the process, and gives nothing that is not in the calling thread's bounding set. To be called before
 * anything is open or read; it returns when there is nothing (more) to give up, or when this process may not.
 *
 * @param descriptors that this process was started with, and needs, besides standard input and output
 * @throws LinuxError
 */
export function limitProcess(descriptors: readonly number[] = []): void {
  if (limitChildren()) executeAgain(descriptors);
}

/**
 * Leaves programs that the calling thread starts from now on only some capabilities, and no way to more.
 *
 * @returns whether they could have had others before
 * @throws LinuxError
 */
export function limitChildren(): boolean {
  const kept = new Set<number>(NEEDED.map((name) => CAP[name]));
  const excess: number[] = [];
  // EINVAL behind the last one that this kernel knows.
  for (let i = 0, has = 0; has >= 0; i++) {
    has = prctl(PR_CAPBSET_READ, i, 0, 0, 0);
    if (has === 1 && !kept.has(i)) excess.push(i);
  }
  if (excess.length === 0) return false;
  const header = allocate(HEADER.size);
  const data = allocate(DATA.size);
  header.view.setUint32(HEADER.version, VERSION_3, true);
  call(capget(header.address, data.address), 'capget');
  // Without it the bounding set stays as it is: whoever took it away has chosen the others, too.
  if ((data.view.getUint32(DATA.effective, true) & (1 << CAP.SETPCAP)) === 0) return false;
  if (readsOthersFiles(header.address, data)) kept.add(CAP[NEEDED_IN_HOMES]);
  for (const capability of excess.filter((each) => !kept.has(each)))
    call(prctl(PR_CAPBSET_DROP, capability, 0, 0, 0), 'PR_CAPBSET_DROP');
  // What is inheritable would come past the bounding set; what is ambient goes with it.
  for (let i = 0; i < 64; i++) {
    if (kept.has(i)) continue;
    const at = (i >> 5) * DATA.each + DATA.inheritable;
    data.view.setUint32(at, data.view.getUint32(at, true) & ~(1 << (i & 31)), true);
  }
  call(capset(header.address, data.address), 'capset');
  call(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 'PR_SET_NO_NEW_PRIVS');
  return true;
}

/** Whether the program, or a file that an argument names, can be read only past the rights of files. */
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

/** With the same arguments and environment. Node has marked all descriptors to be closed by this. */
function executeAgain(descriptors: readonly number[]): never {
  for (const fd of [0, 1, 2, ...descriptors, ...namedIn(process.argv)]) libc.fcntl(fd, F_SETFD, 0);
  const words = [process.argv0, ...process.execArgv, ...process.argv.slice(1)].map((word) =>
    Buffer.from(`${word}\0`),
  );
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

import { readFileSync, realpathSync, statSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';

/*
 * Whose /etc/resolv.conf is. `ip netns exec` gives a program another network and leaves it the machine's file, unless
 * /etc/netns has one for it: to take that over would break the names of everybody else. The machine is here whatever
 * the first process has, which in a container is the container.
 *
 * Links of the first process in /proc (`ns/net`, `root`) are often not to be read, not by root either: a service
 * without CAP_SYS_PTRACE, a security module. What the kernel shows of it to everybody then says the same.
 */

/** The network namespace that a machine starts with has this number since Linux 6.17, linux/nsfs.h. */
const FIRST_NETWORK = 0xeffffff9;

/** Why a file is to be left alone; undefined when it is this network's to change. */
export function whyForeign(path: string): string | undefined {
  const network = isNetworkOfFirstProcess();
  if (network === true || isFileOfFirstProcess(path) === false) return undefined;
  const way = 'give this one its own, /etc/netns/NAME/resolv.conf';
  return network === false
    ? `${path} belongs to another network namespace: ${way}`
    : `${path} may belong to another network namespace, which cannot be seen here (/proc hides process 1): ${way}, or let lametun see it`;
}

/** Undefined when that is not to be found out. */
function isNetworkOfFirstProcess(): boolean | undefined {
  const same = (path: string): boolean | undefined => {
    const [own, first] = [fileAt(`/proc/self/${path}`), fileAt(`/proc/1/${path}`)];
    return own && first && own.number === first.number;
  };
  // Each network has its own files below net/, with numbers of their own, and everybody may look at them.
  const known = same('ns/net') ?? same('net/dev');
  if (known !== undefined) return known;
  return fileAt('/proc/self/ns/net')?.number === FIRST_NETWORK ? true : undefined;
}

/** Whether the first process has the same file at that place; undefined when that is not to be found out. */
function isFileOfFirstProcess(path: string): boolean | undefined {
  const real = realPath(path);
  // Where there is no file yet, the folder in which it would be made.
  const place = fileAt(real) === undefined ? dirname(real) : real;
  const [own, first] = [fileAt(place), fileAt(`/proc/1/root${place}`)];
  if (own !== undefined && first !== undefined)
    return own.number === first.number && own.device === first.device;
  const mounts = mountsOf('self');
  const location = mounts && locate(place, mounts);
  if (location === undefined) return undefined;
  const theirs = mountsOf('1');
  if (theirs !== undefined) return location === locate(place, theirs);
  // What `ip netns exec` has mounted there.
  return /\/etc\/netns\/[^/]+\/resolv\.conf$/.test(location) ? false : undefined;
}

interface Mount {
  readonly id: string;
  readonly parent: string;
  /** Major and minor number. */
  readonly device: string;
  /** What of that file system is mounted. */
  readonly root: string;
  readonly point: string;
}

/**
 * Which file a path is: a file system, and the path in it.
 *
 * @param path without links in it
 * @param mountinfo of a process, proc(5)
 */
export function locate(path: string, mountinfo: string): string | undefined {
  const mounts = mountinfo.split('\n').flatMap(readMount);
  const isOn = ({ point }: Mount): boolean =>
    path === point || path.startsWith(point === '/' ? '/' : `${point}/`);
  const ids = new Set(mounts.map(({ id }) => id));
  let at = mounts.find(
    (mount) => mount.point === '/' && (!ids.has(mount.parent) || mount.parent === mount.id),
  );
  if (at === undefined) return undefined;
  // From mount to mount, as the kernel walks down a path: what is mounted higher up hides what is below.
  for (const seen = new Set<Mount>(); !seen.has(at); ) {
    seen.add(at);
    const { id } = at;
    const next: Mount[] = mounts.filter((mount) => mount.parent === id && mount.id !== id && isOn(mount));
    at = next.sort((a, b) => a.point.length - b.point.length)[0] ?? at;
  }
  const rest = at.point === '/' ? path : path.slice(at.point.length);
  return `${at.device}:${join(at.root, rest)}`;
}

function readMount(line: string): Mount[] {
  const [id, parent, device, root, point] = line.split(' ').map(fromOctal);
  return point === undefined ? [] : [{ id: id!, parent: parent!, device: device!, root: root!, point }];
}

/** Blanks and the like are written as octal numbers. */
const fromOctal = (text: string): string =>
  text.replaceAll(/\\([0-7]{3})/g, (_all, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));

function mountsOf(process: string): string | undefined {
  try {
    return readFileSync(`/proc/${process}/mountinfo`, 'utf8');
  } catch {
    return undefined;
  }
}

function fileAt(path: string): { device: number; number: number } | undefined {
  try {
    const { dev: device, ino: number } = statSync(path);
    return { device, number };
  } catch {
    return undefined;
  }
}

function realPath(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    return join(realpathSync(dirname(path)), basename(path)); // there is none, or a link that leads nowhere
  }
}

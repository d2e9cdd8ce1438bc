import { readFileSync, realpathSync, statSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';

/*
 * Finds out whether /etc/resolv.conf belongs to this network namespace. `ip netns exec` gives a program another network,
 * but the machine's file, unless /etc/netns has one for it. Taking over the machine's file would break names for
 * everyone else. "The machine" is what process 1 has, which in a container is the container.
 *
 * The links of process 1 in /proc (`ns/net`, `root`) are often unreadable, even for root: in a service without
 * CAP_SYS_PTRACE, or with a security module. Then files of process 1 that everyone may read give the answer.
 */

/** The number of the initial network namespace since Linux 6.17, linux/nsfs.h. */
const FIRST_NETWORK = 0xeffffff9;

/** Why the file must not be changed; undefined if it belongs to this network namespace. */
export function whyForeign(path: string): string | undefined {
  const network = isNetworkOfFirstProcess();
  if (network === true || isFileOfFirstProcess(path) === false) return undefined;
  const way = 'give this one its own, /etc/netns/NAME/resolv.conf';
  return network === false
    ? `${path} belongs to another network namespace: ${way}`
    : `${path} may belong to another network namespace (/proc hides process 1, so this is unknown): ${way}, or let lametun see process 1`;
}

/** @returns undefined if that is not visible */
function isNetworkOfFirstProcess(): boolean | undefined {
  const same = (path: string): boolean | undefined => {
    const [own, first] = [fileAt(`/proc/self/${path}`), fileAt(`/proc/1/${path}`)];
    return own && first && own.number === first.number;
  };
  // The files below net/ have other numbers in each network, and everyone may read them.
  const known = same('ns/net') ?? same('net/dev');
  if (known !== undefined) return known;
  return fileAt('/proc/self/ns/net')?.number === FIRST_NETWORK ? true : undefined;
}

/** Whether process 1 has the same file at this path; undefined if that is not visible. */
function isFileOfFirstProcess(path: string): boolean | undefined {
  const real = realPath(path);
  // Without a file, the folder in which it would be made.
  const place = fileAt(real) === undefined ? dirname(real) : real;
  const [own, first] = [fileAt(place), fileAt(`/proc/1/root${place}`)];
  if (own !== undefined && first !== undefined)
    return own.number === first.number && own.device === first.device;
  const mounts = mountsOf('self');
  const location = mounts && locate(place, mounts);
  if (location === undefined) return undefined;
  const theirs = mountsOf('1');
  if (theirs !== undefined) return location === locate(place, theirs);
  // `ip netns exec` mounts such a file.
  return /\/etc\/netns\/[^/]+\/resolv\.conf$/.test(location) ? false : undefined;
}

interface Mount {
  readonly id: string;
  readonly parent: string;
  /** Major and minor number. */
  readonly device: string;
  /** The mounted folder of the file system. */
  readonly root: string;
  readonly point: string;
}

/**
 * Finds the file system of a file, and its path there.
 *
 * @param path without symbolic links
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
  // From mount to mount, as the kernel follows a path: a mount hides everything below it.
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

/** Blanks and some other characters are written in octal. */
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
    return join(realpathSync(dirname(path)), basename(path)); // there is no file, or a broken link
  }
}

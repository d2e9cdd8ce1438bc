import { randomBytes } from 'node:crypto';
import {
  closeSync,
  constants,
  fstatSync,
  lstatSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  type Stats,
  statSync,
  watch,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import * as v from 'valibot';
import { parseAddress } from '../../ip/address.js';
import { type Cidr, formatCidr, parseCidr } from '../../ip/cidr.js';
import { holdOpenFile, isHeldElsewhere } from '../../linux/files/file-lock.js';
import { STATE_DIRECTORY, withStateLock } from '../../linux/files/runtime-state.js';
import { safeDirectory } from '../../linux/files/safe-files.js';
import { isLabel } from '../../protocol/label.js';
import { DNS_TYPE, Names } from './names.js';

/*
 * The networks that this machine is in, and where the names of each are answered. Programs know one name server: the
 * node that has /etc/resolv.conf. From these files it learns which sibling answers names of another network.
 *
 * Each node has a file, and holds a lock on it that ends with its process. A file without a lock belongs to a dead node,
 * and is ignored.
 */

const SUFFIX = '.json';
/** The longest announcement, bytes. */
const LONGEST = 4096;

export interface Announcement {
  /** The network's name. */
  readonly network: string;
  readonly ranges: readonly Cidr[];
  /** The IPv4 address that answers its names, for this machine only. */
  readonly address: string;
  readonly device: string;
}

export interface Sibling {
  readonly address: string;
  readonly device: string;
  /** `home.lametun`. */
  readonly domain: string;
}

/** An announcement in its file. */
const written = v.object({
  network: v.pipe(
    v.string(),
    v.check((name) => isLabel(name.toLowerCase())),
  ), // it goes into resolv.conf
  ranges: v.array(v.string()),
  address: v.pipe(
    v.string(),
    v.check((text) => parseAddress(text)?.length === 4),
  ),
  device: v.string(),
  /** Milliseconds since boot, so that all readers sort alike. */
  since: v.number(),
  /** The network namespace of the address. */
  netns: v.number(),
});
type Written = v.InferOutput<typeof written>;

interface Known extends Sibling {
  readonly names: Names;
  readonly since: number;
}

/** Announces this network on this machine, and knows the others. */
export class Siblings {
  readonly #directory: string;
  readonly #file = `${randomBytes(8).toString('hex')}${SUFFIX}`;
  readonly #own: Sibling;
  readonly #since = Number(process.hrtime.bigint() / 1_000_000n);
  readonly #netns: number;
  #fd: number | undefined;

  /**
   * Announces the network.
   *
   * @throws LinuxError, Error when the file cannot be written
   */
  constructor({ network, ranges, address, device }: Announcement, directory = `${STATE_DIRECTORY}/names`) {
    this.#directory = directory;
    this.#netns = statSync('/proc/self/ns/net').ino;
    this.#own = { address, device, domain: new Names(network, ranges).domain };
    const announcement: Written = {
      ...{ network, ranges: ranges.map(formatCidr), address, device },
      ...{ since: this.#since, netns: this.#netns },
    };
    withStateLock(() => {
      safeDirectory(directory);
      this.#removeDead();
      this.#write(JSON.stringify(announcement));
    });
  }

  /** The running siblings, the oldest first. */
  others(): Sibling[] {
    return this.#known();
  }

  /** The domains of all networks here, this one included, the oldest first: in the same order for every node. */
  domains(): string[] {
    const own = { ...this.#own, since: this.#since };
    const all = [own, ...this.#known()].sort((a, b) => a.since - b.since);
    return [...new Set(all.map(({ domain }) => domain))];
  }

  /** The addresses of siblings that answer a name, or a reverse name. */
  answering(name: string): string[] {
    if (!/\.(lametun|arpa)$/i.test(name)) return [];
    return this.#known()
      .filter(({ names }) => names.lookup(name, DNS_TYPE.any) !== undefined)
      .map(({ address }) => address);
  }

  /**
   * Calls `onChange` when siblings may have changed, but not when one is killed.
   *
   * @returns stops watching
   */
  watch(onChange: () => void): () => void {
    try {
      const watcher = watch(this.#directory, { persistent: false }, onChange);
      watcher.on('error', () => {});
      return () => watcher.close();
    } catch {
      return () => {}; // callers also check from time to time
    }
  }

  /** Withdraws the announcement. A second call does nothing. */
  close(): void {
    if (this.#fd === undefined) return;
    try {
      rmSync(join(this.#directory, this.#file), { force: true });
    } catch {} // without its lock, the file is ignored
    closeSync(this.#fd);
    this.#fd = undefined;
  }

  /** The file gets its name only when it is complete and locked. */
  #write(text: string): void {
    const path = join(this.#directory, this.#file);
    const fd = openSync(`${path}.new`, 'wx', 0o600); // with O_CLOEXEC: child processes do not hold it
    try {
      holdOpenFile(fd);
      writeFileSync(fd, text);
      renameSync(`${path}.new`, path);
    } catch (error) {
      closeSync(fd);
      rmSync(`${path}.new`, { force: true });
      throw error;
    }
    this.#fd = fd;
  }

  #known(): Known[] {
    const known = this.#files().flatMap((file) => this.#withFile(file, readHeld) ?? []);
    return known
      .filter(({ netns, address }) => netns === this.#netns && address !== this.#own.address)
      .sort((a, b) => a.since - b.since);
  }

  #removeDead(): void {
    for (const file of [...this.#files(), ...this.#files(`${SUFFIX}.new`)]) {
      if (this.#withFile(file, isHeldElsewhere) === false)
        rmSync(join(this.#directory, file), { force: true });
    }
  }

  #files(suffix = SUFFIX): string[] {
    try {
      if (!isTrusted(lstatSync(this.#directory))) return [];
      return readdirSync(this.#directory).filter((file) => file.endsWith(suffix) && file !== this.#file);
    } catch {
      return [];
    }
  }

  #withFile<T>(file: string, use: (fd: number) => T): T | undefined {
    let fd: number | undefined;
    try {
      fd = openSync(
        join(this.#directory, file),
        constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK,
      );
      const stat = fstatSync(fd);
      return stat.isFile() && isTrusted(stat) && stat.size <= LONGEST ? use(fd) : undefined;
    } catch {
      return undefined; // it was removed meanwhile, or is not an announcement
    } finally {
      if (fd !== undefined) closeSync(fd);
    }
  }
}

/** Whether only root or this user can write it. */
const isTrusted = ({ uid, mode }: Stats): boolean =>
  (uid === 0 || uid === process.geteuid?.()) && (mode & 0o022) === 0;

/** @returns undefined for the file of a dead node @throws when it is not an announcement, or one of another version */
function readHeld(fd: number): (Known & Pick<Written, 'netns'>) | undefined {
  if (!isHeldElsewhere(fd)) return undefined;
  const { network, ranges, ...rest } = v.parse(written, JSON.parse(readFileSync(fd, 'utf8')));
  const names = new Names(
    network,
    ranges.flatMap((range) => parseCidr(range) ?? []),
  );
  return { ...rest, names, domain: names.domain };
}

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
import { parseAddress } from '../../ip/address.js';
import { type Cidr, formatCidr, parseCidr } from '../../ip/cidr.js';
import { holdOpenFile, isHeldElsewhere } from '../../linux/files/file-lock.js';
import { STATE_DIRECTORY, withStateLock } from '../../linux/files/runtime-state.js';
import { safeDirectory } from '../../linux/files/safe-files.js';
import { isLabel } from '../../protocol/label.js';
import { DNS_TYPE, Names } from './names.js';

/*
 * Which networks this machine is in, and where each one's names are answered. Programs know one name server, which is
 * the node that has /etc/resolv.conf; by this it knows whom to ask for the names of the others.
 *
 * Each node has a file, and holds a lock on it that goes with its process, however that ends: a file that nobody
 * holds is a dead node's, and says nothing.
 */

const SUFFIX = '.json';
/** More is none of ours, bytes. */
const MOST = 4096;

export interface Announcement {
  /** The network's name. */
  readonly network: string;
  readonly ranges: readonly Cidr[];
  /** Where its names are answered, on this machine only: an IPv4 address. */
  readonly address: string;
  readonly device: string;
}

export interface Sibling {
  readonly address: string;
  readonly device: string;
  /** `home.lametun`. */
  readonly domain: string;
}

/** As it is in the file. */
interface Written {
  readonly network: string;
  readonly ranges: readonly string[];
  readonly address: string;
  readonly device: string;
  /** Milliseconds since boot: the same order for all who read it. */
  readonly since: number;
  /** Only there the address is this node's. */
  readonly netns: number;
}

interface Known extends Sibling {
  readonly names: Names;
  readonly since: number;
}

/** This machine's other networks, and this one for them. */
export class Siblings {
  readonly #directory: string;
  readonly #file = `${randomBytes(8).toString('hex')}${SUFFIX}`;
  readonly #own: Sibling;
  readonly #since = Number(process.hrtime.bigint() / 1_000_000n);
  readonly #netns: number;
  #fd: number | undefined;

  /**
   * From now on the others know of this network.
   *
   * @throws LinuxError, Error when there is no place for it
   */
  constructor({ network, ranges, address, device }: Announcement, directory = `${STATE_DIRECTORY}/names`) {
    this.#directory = directory;
    this.#netns = statSync('/proc/self/ns/net').ino;
    this.#own = { address, device, domain: new Names(network, ranges).domain };
    const written: Written = {
      ...{ network, ranges: ranges.map(formatCidr), address, device },
      ...{ since: this.#since, netns: this.#netns },
    };
    withStateLock(() => {
      safeDirectory(directory);
      this.#removeDead();
      this.#write(JSON.stringify(written));
    });
  }

  /** Those that run now, the oldest first. */
  others(): Sibling[] {
    return this.#known();
  }

  /** The domains of all networks here, this one's too, in the same order for every node: as they were begun. */
  domains(): string[] {
    const own = { ...this.#own, since: this.#since };
    const all = [own, ...this.#known()].sort((a, b) => a.since - b.since);
    return [...new Set(all.map(({ domain }) => domain))];
  }

  /** Where a name is answered that is another network's, by address; also reverse names. */
  answering(name: string): string[] {
    if (!/\.(lametun|arpa)$/i.test(name)) return [];
    return this.#known()
      .filter(({ names }) => names.lookup(name, DNS_TYPE.any) !== undefined)
      .map(({ address }) => address);
  }

  /**
   * Tells when there may be others than before; not when one was killed.
   *
   * @returns what ends it
   */
  watch(onChange: () => void): () => void {
    try {
      const watcher = watch(this.#directory, { persistent: false }, onChange);
      watcher.on('error', () => {});
      return () => watcher.close();
    } catch {
      return () => {}; // whoever waits looks from time to time, too
    }
  }

  /** The others know nothing of this network any more. A second call does nothing. */
  close(): void {
    if (this.#fd === undefined) return;
    rmSync(join(this.#directory, this.#file), { force: true });
    closeSync(this.#fd);
    this.#fd = undefined;
  }

  /** Has its name only when it is whole and held. */
  #write(text: string): void {
    const path = join(this.#directory, this.#file);
    const fd = openSync(`${path}.new`, 'wx', 0o600); // with O_CLOEXEC: programs that are run do not hold it on
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
      return stat.isFile() && isTrusted(stat) && stat.size <= MOST ? use(fd) : undefined;
    } catch {
      return undefined; // gone meanwhile
    } finally {
      if (fd !== undefined) closeSync(fd);
    }
  }
}

/** Whether nobody else could have written it. */
const isTrusted = ({ uid, mode }: Stats): boolean =>
  (uid === 0 || uid === process.geteuid?.()) && (mode & 0o022) === 0;

function readHeld(fd: number): (Known & Pick<Written, 'netns'>) | undefined {
  return isHeldElsewhere(fd) ? readAnnouncement(readFileSync(fd, 'utf8')) : undefined;
}

/** Undefined when it is none, such as that of another version. */
function readAnnouncement(text: string): (Known & Pick<Written, 'netns'>) | undefined {
  const { network, ranges, address, device, since, netns } = JSON.parse(text) as Partial<Written>;
  // The network's name goes into resolv.conf.
  if (
    typeof network !== 'string' ||
    !isLabel(network.toLowerCase()) ||
    !Array.isArray(ranges) ||
    !ranges.every((r) => typeof r === 'string')
  )
    return;
  if (typeof address !== 'string' || parseAddress(address)?.length !== 4 || typeof device !== 'string')
    return;
  if (typeof since !== 'number' || typeof netns !== 'number') return;
  const names = new Names(
    network,
    ranges.flatMap((range) => parseCidr(range) ?? []),
  );
  return { address, device, since, netns, names, domain: names.domain };
}

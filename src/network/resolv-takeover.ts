import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  chownSync,
  closeSync,
  type FSWatcher,
  fchmodSync,
  fsyncSync,
  lstatSync,
  openSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  watch,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { LametunError } from '../errors.js';
import { isAlive, thisProcess, withStateLock } from '../linux/runtime-state.js';
import { type Owner, ownerOf, parseResolvConf, renderResolvConf, withoutOurs } from './resolv-conf.js';

/*
 * Takes /etc/resolv.conf over, and gives it back: when lametun stops; when it is killed, by a guard; when the machine
 * lost its power, at the next start. It is only ever given back while it is as lametun wrote it. What somebody else
 * has written meanwhile (a DHCP client) is the new file to give back, and its name servers the new ones to ask.
 *
 * The file itself says whose it is and where the old one is. A file is replaced as a whole, by rename; one that is
 * mounted into a container cannot be, and is written in place.
 */

const PATH = '/etc/resolv.conf';
const BACKUP = 'before-lametun';

/** How often it is looked at, besides when something tells that it changed; milliseconds. */
const LOOK = 2000;
const SETTLE = 100;
/** Takeovers within a minute after which somebody else wants the file as badly. */
const FIGHT = 5;
const MINUTE = 60_000;

export interface TakeoverOptions {
  /** The node's inner IPv4 address, where its resolver listens. */
  readonly address: string;
  /** `home.lametun`, to be searched. */
  readonly domain: string;
  readonly device: string;
  readonly stateDirectory: string;
  readonly log: (message: string) => void;
  /** For tests. */
  readonly path?: string | undefined;
}

export class ResolvConfTakeover {
  readonly #options: TakeoverOptions;
  readonly #path: string;
  readonly #token = randomBytes(8).toString('hex');
  /** A copy of what we wrote, by which the guard knows whether the file is still ours. */
  readonly #copy: string;
  #backup: string;
  #written: string | undefined;
  #upstreams: readonly string[] = [];
  #guard: ChildProcess | undefined;
  #watches: FSWatcher[] = [];
  #timer: NodeJS.Timeout | undefined;
  #settle: NodeJS.Timeout | undefined;
  #takeovers: number[] = [];
  #said: string | undefined;
  #stopped = false;

  /**
   * Takes the file over if it can be; if another lametun has it, as soon as that one stops.
   *
   * @throws LametunError when it cannot be taken over at all
   */
  constructor(options: TakeoverOptions) {
    this.#options = options;
    this.#path = options.path ?? PATH;
    this.#backup = `${this.#path}.${this.#backupName}`;
    this.#copy = join(options.stateDirectory, 'resolv.conf.written');
    refuseForeign(this.#path);
    try {
      this.#look(true);
    } catch (error) {
      this.#giveUp();
      throw error;
    }
    this.#watch();
  }

  /** Why it is not taken over now, or undefined when it is. */
  get problem(): string | undefined {
    return this.#written === undefined ? this.#said : undefined;
  }

  /** The name servers that were there before, as they are now. */
  upstreams(): readonly string[] {
    return this.#upstreams;
  }

  /** Gives the file back. A second call does nothing. */
  stop(): void {
    if (this.#stopped) return;
    this.#stopped = true;
    clearInterval(this.#timer);
    clearTimeout(this.#settle);
    for (const watcher of this.#watches) watcher.close();
    try {
      withStateLock(() => {
        const owner = ownerOf(read(this.#path) ?? '');
        if (owner?.token === this.#token) giveBack(this.#path, owner);
        else if (owner === undefined) rmSync(this.#backup, { force: true }); // theirs is newer
      });
    } finally {
      rmSync(this.#copy, { force: true });
      this.#guard?.removeAllListeners('exit');
      this.#guard?.stdin?.end('done\n');
    }
  }

  #giveUp(): void {
    try {
      this.stop();
    } catch {} // what is told is why it could not be taken over
  }

  #watch(): void {
    const soon = (_event: string, name: string | null): void => {
      if (name !== null && name !== basename(this.#path)) return;
      clearTimeout(this.#settle);
      this.#settle = setTimeout(() => this.#look(false), SETTLE);
    };
    try {
      const watcher = watch(dirname(this.#path), { persistent: false }, soon);
      watcher.on('error', () => {}); // the timer looks, too
      this.#watches.push(watcher);
    } catch {}
    this.#timer = setInterval(() => this.#look(false), LOOK);
    this.#timer.unref();
  }

  /** Makes what is there ours, if it is not; and learns what others changed. */
  #look(first: boolean): void {
    if (this.#stopped) return;
    const text = read(this.#path);
    if (text !== undefined && text === this.#written) {
      // Where the old one is a link, somebody keeps writing to what it leads to.
      const before = read(this.#backup);
      if (before !== undefined) this.#learn(before);
      return;
    }
    const now = performance.now();
    this.#takeovers = this.#takeovers.filter((at) => at > now - MINUTE);
    if (this.#takeovers.length >= FIGHT) {
      this.#say(`another program keeps writing ${this.#path}: names are not found while it has the file`);
      this.#written = undefined;
      return;
    }
    try {
      withStateLock(() => this.#takeOver());
      this.#takeovers.push(now);
      this.#said = undefined;
    } catch (error) {
      this.#written = undefined;
      const isPatient = error instanceof LametunError && error.code === 'refused';
      if (first && !isPatient) throw notWritable(this.#path, error);
      this.#say((error as Error).message);
    }
  }

  #say(message: string): void {
    if (this.#said === message) return;
    this.#said = message;
    this.#options.log(message);
  }

  /** Its own: in another mount namespace the file may be another one, and its folder the same. */
  get #backupName(): string {
    return `${BACKUP}-${this.#token.slice(0, 8)}`;
  }

  #takeOver(): void {
    const { address, domain, device } = this.#options;
    this.#makeRoom();
    const kept = keep(this.#path, this.#options.stateDirectory, this.#backupName);
    this.#backup = kept.backup;
    const owner: Owner = {
      ...{ token: this.#token, process: thisProcess(), boot: bootId(), device, address },
      ...{ backup: kept.backup, missing: kept.missing },
    };
    this.#learn(kept.text ?? '');
    const text = renderResolvConf(parseResolvConf(kept.text ?? ''), domain, owner);
    writeFileSync(this.#copy, text, { mode: 0o600 });
    this.#watchOver();
    replace(this.#path, text);
    this.#written = text;
  }

  /** What another lametun left, or somebody made of ours, becomes a file without us. */
  #makeRoom(): void {
    const text = read(this.#path) ?? '';
    const owner = ownerOf(text);
    if (owner === undefined) return;
    if (owner.token !== this.#token && isOwnerAlive(owner)) {
      throw new LametunError(
        'refused',
        `${this.#path} is in the hands of the lametun on ${owner.device}: names in ${this.#options.domain} are found as soon as that one stops`,
      );
    }
    giveBack(this.#path, owner, this.#options.domain);
  }

  #learn(text: string): void {
    const servers = parseResolvConf(text).nameservers.filter((server) => server !== this.#options.address);
    if (servers.length > 0 || this.#written === undefined) this.#upstreams = servers;
  }

  #watchOver(): void {
    if (this.#guard !== undefined) return;
    const args = ['-c', GUARD, 'lametun-guard', this.#path, this.#copy, this.#backup];
    // A session of its own: what ends our process group does not end the guard.
    const guard = spawn('/bin/sh', args, {
      ...{ detached: true, stdio: ['pipe', 'ignore', 'ignore'], cwd: '/' },
      env: { PATH: '/usr/bin:/bin:/usr/sbin:/sbin' },
    });
    guard.stdin?.on('error', () => {});
    (guard.stdin as unknown as { unref?(): void }).unref?.();
    guard.on('error', (error) => {
      this.#guard = undefined;
      this.#options.log(`nothing puts ${this.#path} back should lametun be killed: ${error.message}`);
    });
    guard.on('exit', () => {
      this.#guard = undefined;
      setTimeout(() => {
        if (!this.#stopped && this.#written !== undefined) this.#watchOver();
      }, 1000).unref();
    });
    guard.unref();
    this.#guard = guard;
  }
}

/**
 * Waits until the other end of its standard input is gone, which the kernel sees to whatever way lametun ends. A
 * word on it says that all is well. $1: the file, $2: what lametun wrote there, $3: the old one.
 */
const GUARD = `
trap '' HUP INT QUIT TERM PIPE
read -r word && [ "$word" = done ] && exit 0
[ -s "$2" ] || exit 0
now=$(cat "$1" 2>/dev/null)
if [ "$now" = "$(cat "$2")" ]; then
  case $now in
    *'"missing":true'*) rm -f "$1" 2>/dev/null || : >"$1" ;;
    *) if [ -e "$3" ] || [ -L "$3" ]; then
         mv -f "$3" "$1" 2>/dev/null || { cat "$3" >"$1" && rm -f "$3"; }
       fi ;;
  esac
else
  case $now in *lametun-owner*) ;; *) rm -f "$3" ;; esac # there is a newer one to keep
fi
rm -f "$2"
`;

interface Kept {
  readonly backup: string;
  /** What it says; undefined when it leads nowhere. */
  readonly text: string | undefined;
  readonly missing: boolean;
}

/** The file as it was, kept beside it or, where nothing can be made there, in the state directory. */
function keep(path: string, stateDirectory: string, name: string): Kept {
  const text = read(path);
  const beside = `${path}.${name}`;
  const stat = lstatSync(path, { throwIfNoEntry: false });
  if (stat === undefined) {
    rmSync(beside, { force: true });
    return { backup: beside, text, missing: true };
  }
  try {
    const fresh = `${beside}.new`;
    rmSync(fresh, { force: true });
    if (stat.isSymbolicLink()) symlinkSync(readlinkSync(path), fresh);
    else writeWhole(fresh, text ?? '', stat.mode & 0o777, stat);
    renameSync(fresh, beside);
    return { backup: beside, text, missing: false };
  } catch (error) {
    if (!isReadOnly(error)) throw error;
    const backup = join(stateDirectory, `resolv.conf.${name}`);
    writeWhole(backup, text ?? '', 0o644);
    return { backup, text, missing: false };
  }
}

/** Puts the old file back where it is still as lametun wrote it, and else takes out what is lametun's. */
function giveBack(path: string, owner: Owner & { readonly intact: boolean }, domain?: string): void {
  const { backup, missing, intact } = owner;
  const text = read(path) ?? '';
  if (!intact) {
    replace(path, withoutOurs(text, owner, domain));
    rmSync(backup, { force: true });
  } else if (missing) {
    try {
      rmSync(path, { force: true });
    } catch {
      writeFileSync(path, '');
    }
  } else if (lstatSync(backup, { throwIfNoEntry: false }) === undefined) {
    replace(path, withoutOurs(text, owner, domain)); // somebody has removed the old one
  } else {
    try {
      renameSync(backup, path);
    } catch {
      writeFileSync(path, readFileSync(backup)); // a mount, or on another file system
      rmSync(backup, { force: true });
    }
  }
}

/** Afterwards there is either the old file or the new one, whole; except where only writing in place is possible. */
function replace(path: string, text: string): void {
  const fresh = `${path}.lametun-new`;
  try {
    writeWhole(fresh, text, 0o644);
    renameSync(fresh, path);
  } catch (error) {
    rmSync(fresh, { force: true });
    if (!isReadOnly(error) && (error as NodeJS.ErrnoException).code !== 'EBUSY') throw error;
    writeFileSync(path, text);
  }
}

function writeWhole(path: string, text: string, mode: number, owner?: { uid: number; gid: number }): void {
  const fd = openSync(path, 'w', mode);
  try {
    writeFileSync(fd, text);
    fchmodSync(fd, mode); // whatever the umask is: everybody reads this file
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
  if (owner !== undefined) chownSync(path, owner.uid, owner.gid);
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}

const isReadOnly = (error: unknown): boolean =>
  ['EROFS', 'EACCES', 'EPERM', 'EXDEV'].includes((error as NodeJS.ErrnoException).code ?? '');

function notWritable(path: string, error: unknown): unknown {
  if (!isReadOnly(error)) return error;
  return new LametunError('linux', `${path} cannot be written: ${(error as Error).message}`, {
    cause: error,
  });
}

const bootId = (): string => read('/proc/sys/kernel/random/boot_id')?.trim() ?? '';

const isOwnerAlive = ({ process, boot }: Owner): boolean => boot === bootId() && isAlive(process);

/**
 * `ip netns exec` gives a program another network and leaves it the machine's resolv.conf, unless /etc/netns has one
 * for it. To take that over would break the names of everybody else.
 *
 * @throws LametunError `refused`
 */
function refuseForeign(path: string): void {
  if (path !== PATH) return;
  try {
    const net = (pid: string): number => statSync(`/proc/${pid}/ns/net`).ino;
    const ours = statSync(path);
    const theirs = statSync(`/proc/1/root${path}`);
    if (net('self') === net('1') || ours.ino !== theirs.ino || ours.dev !== theirs.dev) return;
  } catch {
    return; // not to be found out: then there is no such other
  }
  throw new LametunError(
    'refused',
    `${path} belongs to another network namespace: give this one its own, /etc/netns/NAME/resolv.conf`,
  );
}

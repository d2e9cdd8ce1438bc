import { randomBytes } from 'node:crypto';
import { type FSWatcher, rmSync, statSync, watch, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { LametunError } from '../../errors.js';
import { isAlive, thisProcess, withStateLock } from '../../linux/runtime-state.js';
import { type Owner, ownerOf, parseResolvConf, renderResolvConf } from './resolv-conf.js';
import { giveBack, isReadOnly, keep, read, replace } from './resolv-files.js';
import { ResolvGuard } from './resolv-guard.js';

/*
 * Takes /etc/resolv.conf over, and gives it back: when lametun stops; when it is killed, by a guard; when the machine
 * lost its power, at the next start. It is only ever given back while it is as lametun wrote it. What somebody else
 * has written meanwhile (a DHCP client) is the new file to give back, and its name servers the new ones to ask.
 *
 * The file itself says whose it is and where the old one is.
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
  readonly #guard: ResolvGuard;
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
    this.#guard = new ResolvGuard({
      ...{ path: this.#path, copy: this.#copy, backup: () => this.#backup },
      ...{ token: this.#token, log: options.log },
      isNeeded: () => this.#written !== undefined,
    });
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
      this.#guard.stop();
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
    this.#guard.watch();
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
}

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

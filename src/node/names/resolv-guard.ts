import { type ChildProcess, spawn } from 'node:child_process';
import { STATE_LOCK } from '../../linux/files/runtime-state.js';

/**
 * Waits until the other end of its standard input is gone, which the kernel sees to whatever way lametun ends. A
 * word on it says that all is well. $1: the file, $2: what lametun wrote there, and with `.next` what it was about to
 * write, $3: the old one, $4: what names this lametun in there, $5: the lock. The next one may have started by now, and
 * all is in its hands then.
 *
 * Another lametun may put the file back at the same time, and waits for the lock. Where there is no flock(1), the
 * worst is that it takes an empty file for the old one, and that only where the file can but be written in place: a copy
 * of the old one is taken first.
 */
const SCRIPT = `
trap '' HUP INT QUIT TERM PIPE
read -r word && [ "$word" = done ] && exit 0
[ -w "$5" ] && exec 9>>"$5" && flock -w 1 9 2>/dev/null
now=$(cat "$1" 2>/dev/null)
wrote=
ours=
for mine in "$2" "$2.next"; do
  text=$(cat "$mine" 2>/dev/null)
  case $text in *"$4"*) wrote=yes; [ "$now" = "$text" ] && ours=yes ;; esac
done
[ -n "$wrote" ] || exit 0
if [ -n "$ours" ]; then
  case $now in
    *'"missing":true'*) rm -f "$1" 2>/dev/null || : >"$1" ;;
    *) if [ -e "$3" ] || [ -L "$3" ]; then
         mv -f "$3" "$1" 2>/dev/null ||
           { cat "$3" >"$2.old" 2>/dev/null && cat "$2.old" >"$1" && rm -f "$3"; }
       fi ;;
  esac
else
  case $now in *lametun-owner*"$4"*) ;; *) rm -f "$3" ;; esac # there is a newer one to keep
fi
for mine in "$2" "$2.next"; do
  case $(cat "$mine" 2>/dev/null) in *"$4"*) rm -f "$mine" ;; esac
done
rm -f "$2.old"
`;

/** After so long a guard that has ended is replaced, milliseconds. */
const AGAIN = 1_000;

export interface GuardOptions {
  /** The file that is watched over. */
  readonly path: string;
  /** A copy of what lametun wrote there: the guard touches no other. */
  readonly copy: string;
  /** It is in what this lametun writes there, and in nothing that another does. */
  readonly token: string;
  /** The old one, as the guard finds it when it starts. */
  readonly backup: () => string;
  /** Whether there is anything to put back: else a guard that ends is not replaced. */
  readonly isNeeded: () => boolean;
  readonly log: (message: string) => void;
}

/** A process that puts a file back when this one is killed. */
export class ResolvGuard {
  readonly #options: GuardOptions;
  #process: ChildProcess | undefined;
  #stopped = false;

  constructor(options: GuardOptions) {
    this.#options = options;
  }

  /** From now on. Does nothing when it is so already. */
  watch(): void {
    if (this.#process === undefined) this.#start();
  }

  /** All is well: it need not put back anything. */
  stop(): void {
    this.#stopped = true;
    this.#process?.stdin?.end('done\n');
  }

  #start(): void {
    const { path, copy, token, backup, isNeeded, log } = this.#options;
    // The script is not among the arguments: `ps` shows those.
    const args = ['-c', 'eval "$SCRIPT"', 'lametun-guard', path, copy, backup(), token, STATE_LOCK];
    // A session of its own: what ends our process group does not end the guard.
    const guard = spawn('/bin/sh', args, {
      ...{ detached: true, stdio: ['pipe', 'ignore', 'ignore'], cwd: '/' },
      env: { PATH: '/usr/bin:/bin:/usr/sbin:/sbin', SCRIPT },
    });
    guard.stdin?.on('error', () => {});
    (guard.stdin as unknown as { unref?(): void }).unref?.();
    guard.on('error', (error) => {
      this.#process = undefined;
      log(`nothing puts ${path} back should lametun be killed: ${error.message}`);
    });
    guard.on('exit', () => {
      this.#process = undefined;
      setTimeout(() => {
        if (!this.#stopped && isNeeded()) this.watch();
      }, AGAIN).unref();
    });
    guard.unref();
    this.#process = guard;
  }
}

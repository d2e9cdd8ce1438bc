import { type ChildProcess, spawn } from 'node:child_process';
import { STATE_LOCK } from '../../linux/files/runtime-state.js';

/**
 * Waits until its standard input ends, which the kernel ensures however lametun ends. The word `done` means that nothing
 * must be restored. $1: the file, $2: a copy of what lametun wrote there, and with `.next` of what it was about to write,
 * $3: the original file, $4: the token of this lametun, $5: the lock. If the next lametun has already taken the file
 * over, the guard leaves it alone.
 *
 * Another lametun may restore the file at the same time, and waits for the lock. Without flock(1), it could at worst take
 * an empty file for the original, and only if the file must be written in place: so a copy of the original is made first.
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
  case $now in *lametun-owner*"$4"*) ;; *) rm -f "$3" ;; esac # the file is newer than the original
fi
for mine in "$2" "$2.next"; do
  case $(cat "$mine" 2>/dev/null) in *"$4"*) rm -f "$mine" ;; esac
done
rm -f "$2.old"
`;

/** How soon a guard that has ended is replaced, milliseconds. */
const AGAIN = 1_000;

export interface GuardOptions {
  /** The file to restore. */
  readonly path: string;
  /** A copy of what lametun wrote there: the guard changes nothing else. */
  readonly copy: string;
  /** Occurs only in what this lametun writes there. */
  readonly token: string;
  /** Returns the path of the original file. Called when a guard starts. */
  readonly backup: () => string;
  /** Whether there is anything to restore: otherwise a guard that ends is not replaced. */
  readonly isNeeded: () => boolean;
  readonly log: (message: string) => void;
}

/** A process that restores a file when this process is killed. */
export class ResolvGuard {
  readonly #options: GuardOptions;
  #process: ChildProcess | undefined;
  #stopped = false;

  constructor(options: GuardOptions) {
    this.#options = options;
  }

  /** Starts the guard, if it is not running. */
  watch(): void {
    if (this.#process === undefined) this.#start();
  }

  /** Ends the guard: nothing must be restored. */
  stop(): void {
    this.#stopped = true;
    this.#process?.stdin?.end('done\n');
  }

  #start(): void {
    const { path, copy, token, backup, isNeeded, log } = this.#options;
    // The script is not among the arguments: `ps` shows those.
    const args = ['-c', 'eval "$SCRIPT"', 'lametun-guard', path, copy, backup(), token, STATE_LOCK];
    // Its own session, so that a signal to lametun's process group does not end it.
    const guard = spawn('/bin/sh', args, {
      ...{ detached: true, stdio: ['pipe', 'ignore', 'ignore'], cwd: '/' },
      env: { PATH: '/usr/bin:/bin:/usr/sbin:/sbin', SCRIPT },
    });
    guard.stdin?.on('error', () => {});
    (guard.stdin as unknown as { unref?(): void }).unref?.();
    guard.on('error', (error) => {
      this.#process = undefined;
      log(`cannot start the process that would restore ${path} if lametun is killed: ${error.message}`);
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

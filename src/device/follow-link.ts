import { findLink } from '../linux/net/link.js';
import { type Watch, watchLink } from '../linux/net/watch.js';
import { tunName, tunState, whereIsTun } from '../linux/tun/tun-state.js';

/** What the data plane must know about its device. */
export interface LinkState {
  readonly up: boolean;
  /** Bytes; undefined if it cannot be read. */
  readonly mtu: number | undefined;
}

/** How often a device is checked that the kernel does not report on, milliseconds. */
const LOOK_INTERVAL = 1000;

/**
 * Reports a TUN device's state, now and after every change, until it is gone. While it is in another network namespace,
 * it is checked every second.
 *
 * @param onGone is the last call
 */
export function followLink(
  tunFd: number,
  onChange: (state: LinkState) => void,
  onGone: () => void,
): { close(): void } {
  let watch: Watch | undefined;
  let timer: NodeJS.Timeout | undefined;
  let closed = false;

  const close = (): void => {
    closed = true;
    watch?.close();
    clearInterval(timer);
  };
  /** Finds the device wherever it is now. */
  const look = (): void => {
    if (closed) return;
    const place = placeOf(tunFd);
    if (place === 'here' && watchHere()) return;
    const state = typeof place === 'object' ? place : stateOf(tunFd);
    if (state === 'gone') {
      close();
      onGone();
    } else {
      timer ??= setInterval(look, LOOK_INTERVAL);
      onChange(state);
    }
  };
  const watchHere = (): boolean => {
    const link = findLink(tunName(tunFd));
    if (link === undefined) return false;
    const watching = watchLink(link.index, (now) => {
      if (now) onChange(now);
      else look(); // it left this namespace, or is gone
    });
    const now = findLink(link.index); // it may have changed before it was watched
    if (now === undefined) {
      watching.close();
      return false;
    }
    watch = watching;
    clearInterval(timer);
    timer = undefined;
    onChange(now);
    return true;
  };

  look();
  return { close };
}

/** Undefined if that cannot be found out. */
function placeOf(tunFd: number): ReturnType<typeof whereIsTun> {
  try {
    return whereIsTun(tunFd);
  } catch {
    return undefined; // it is gone, or this process may not ask
  }
}

function stateOf(tunFd: number): LinkState | 'gone' {
  const state = tunState(tunFd);
  return state === 'gone' ? state : { up: state === 'up', mtu: undefined };
}

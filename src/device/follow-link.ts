import { findLink } from '../linux/link.js';
import { insideNamespaceOf, tunName, tunState } from '../linux/tun-state.js';
import { type Watch, watchLink } from '../linux/watch.js';

/** What a device's data plane must know of it. */
export interface LinkState {
  readonly up: boolean;
  /** Bytes; undefined where it cannot be asked for. */
  readonly mtu: number | undefined;
}

/** How often a device is looked at that the kernel tells us nothing of, milliseconds. */
const POLL_INTERVAL = 1000;

/**
 * Tells how a TUN device is, now and after every change, until it is gone. Follows it into the network namespace
 * that it is moved to; where that is not allowed, whether it is up is asked for every second.
 *
 * @param onGone is the last call
 */
export function followLink(
  tunFd: number,
  onChange: (state: LinkState) => void,
  onGone: () => void,
): { close(): void } {
  let watch: Pick<Watch, 'close'> | undefined;
  let closed = false;

  const close = (): void => {
    closed = true;
    watch?.close();
    watch = undefined;
  };
  const end = (): void => {
    close();
    onGone();
  };
  /** Finds the device wherever it is now. */
  const find = (): void => {
    if (closed) return;
    if (tunState(tunFd) === 'gone') end();
    else if (!watchInItsNamespace()) poll();
  };
  const watchInItsNamespace = (): boolean => {
    try {
      return insideNamespaceOf(tunFd, watchHere);
    } catch {
      return false;
    }
  };
  const watchHere = (): boolean => {
    const link = findLink(tunName(tunFd));
    if (link === undefined) return false;
    const watching = watchLink(link.index, (now) => {
      if (now) onChange(now);
      else find(); // it left this namespace, or is gone
    });
    const now = findLink(link.index); // it may have changed before it was watched
    if (now === undefined) {
      watching.close();
      return false;
    }
    watch = watching;
    onChange(now);
    return true;
  };
  const poll = (): void => {
    const look = (): void => {
      const state = tunState(tunFd);
      if (state === 'gone') end();
      else onChange({ up: state === 'up', mtu: undefined });
    };
    const timer = setInterval(look, POLL_INTERVAL);
    watch = { close: () => clearInterval(timer) };
    look();
  };

  find();
  return { close };
}

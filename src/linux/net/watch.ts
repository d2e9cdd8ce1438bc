import koffi from '../ffi/koffi.js';
import { findLink, type Link, RTM, readLink } from './link.js';
import { NetlinkSocket } from './netlink.js';

/** A watch. It keeps the program running unless `unref` is called. */
export interface Watch {
  close(): void;
  /** Lets the program end in spite of the watch. */
  unref(): void;
}

/** Handles of the event loop. One without a reference is collected, and its callback is never called again. */
const handles = new Set<ReturnType<typeof koffi.node.poll>>();
// During node's shutdown, a call of koffi's callback would abort the process.
process.once('exit', () => {
  for (const handle of handles) handle.close();
});

/**
 * Calls `onReadable` from the event loop of this thread whenever a file descriptor has something to read, or an
 * error to report, until it has been read. Close the watch before the descriptor. One watch per descriptor.
 *
 * Built on libuv's uv_poll through koffi, which does not document it: `koffi.node.poll(fd, callback)`.
 *
 * @param onClose called once, when the watch is closed: to close the descriptor
 */
export function watchReadable(fd: number, onReadable: () => void, onClose?: () => void): Watch {
  let closed = false;
  // koffi calls back outside of node's turns: there an error is lost and promises do not continue. So the real work
  // waits for a proper turn, and the descriptor is not polled until then.
  const wait = (): void => {
    handle.stop();
    setImmediate(() => {
      if (closed) return;
      try {
        onReadable();
      } finally {
        if (!closed) handle.start(wait);
      }
    });
  };
  const handle = koffi.node.poll(fd, wait);
  handles.add(handle);
  return {
    close() {
      if (closed) return;
      closed = true;
      handles.delete(handle);
      handle.close();
      onClose?.();
    },
    unref: () => handle.unref(),
  };
}

/** linux/rtnetlink.h. */
const RTMGRP = { link: 1, ipv4Address: 0x10, ipv4Route: 0x40, ipv6Address: 0x100, ipv6Route: 0x400 } as const;

/**
 * Reports every change of a device, from the event loop of this thread: up or down, carrier, MTU, name.
 *
 * A device that is moved to another network namespace is reported as gone. Its changes there are not reported.
 *
 * @param index the device's number
 * @param onChange gets the device after the change, or undefined in the last call, when it is gone
 * @throws LinuxError
 */
export function watchLink(index: number, onChange: (link: Link | undefined) => void): Watch {
  const socket = new NetlinkSocket(RTMGRP.link);
  const asking = new NetlinkSocket(); // opened now, because the thread may be in another namespace later
  let closed = false;
  const read = (): void => {
    const { messages, areLost } = socket.notifications();
    const changes = messages.flatMap((message) => {
      const link = readLink(message);
      return link?.index === index ? { link: message.type === RTM.delLink ? undefined : link } : [];
    });
    if (areLost) changes.push({ link: findLink(index, asking) });
    for (const { link } of changes) {
      if (closed) return;
      if (link === undefined) watch.close();
      onChange(link);
    }
  };
  const watch = watchReadable(socket.fd, read, () => {
    closed = true;
    socket.close();
    asking.close();
  });
  return watch;
}

/**
 * Reports that devices, addresses or routes have changed in the network namespace of the calling thread: once for all
 * changes at the same time, without saying which.
 *
 * @throws LinuxError
 */
export function watchNetwork(onChange: () => void): Watch {
  const socket = new NetlinkSocket(Object.values<number>(RTMGRP).reduce((all, group) => all | group));
  const read = (): void => {
    socket.notifications();
    onChange();
  };
  return watchReadable(socket.fd, read, () => socket.close());
}

import koffi from 'koffi';
import { ERRNO, LinuxError } from '../ffi/errno.js';
import { findLink, type Link, RTM, readLink } from './link.js';
import { NetlinkSocket } from './netlink.js';
import { readMessages } from './netlink-message.js';

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
 */
export function watchReadable(fd: number, onReadable: () => void): Watch {
  let closed = false;
  // koffi calls back outside of node's turns: there an error is lost and promises do not continue. So the real work
  // waits
  // for a proper turn, and the descriptor is not polled until then.
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
  const close = (): void => {
    if (closed) return;
    closed = true;
    watch.close();
    socket.close();
    asking.close();
  };
  const watch = watchReadable(socket.fd, () => {
    for (const link of changes(index, socket, asking)) {
      if (link === undefined) close();
      onChange(link);
      if (closed) return;
    }
  });
  return { close, unref: watch.unref };
}

/** Reads what `socket` reports about a device. */
function* changes(
  index: number,
  socket: NetlinkSocket,
  asking: NetlinkSocket,
): Generator<Link | undefined, void, void> {
  let lost = false; // changes came faster than they were read
  for (;;) {
    let datagram: Uint8Array | undefined;
    try {
      datagram = socket.receive();
    } catch (error) {
      if (!(error instanceof LinuxError && error.errno === ERRNO.ENOBUFS)) throw error;
      lost = true;
      continue;
    }
    if (datagram === undefined) break;
    for (const message of readMessages(datagram)) {
      const link = readLink(message);
      if (link?.index === index) yield message.type === RTM.delLink ? undefined : link;
    }
  }
  if (lost) yield findLink(index, asking);
}

/**
 * Reports that devices, addresses or routes have changed in the network namespace of the calling thread: once for all
 * changes at the same time, without saying which.
 *
 * @throws LinuxError
 */
export function watchNetwork(onChange: () => void): Watch {
  const socket = new NetlinkSocket(Object.values<number>(RTMGRP).reduce((all, group) => all | group));
  let closed = false;
  const watch = watchReadable(socket.fd, () => {
    drain(socket);
    onChange();
  });
  return {
    close() {
      if (closed) return;
      closed = true;
      watch.close();
      socket.close();
    },
    unref: watch.unref,
  };
}

/** Reads all notifications and ignores them. */
function drain(socket: NetlinkSocket): void {
  for (;;) {
    try {
      if (socket.receive() === undefined) return;
    } catch (error) {
      if (!(error instanceof LinuxError && error.errno === ERRNO.ENOBUFS)) throw error; // some were lost, which does not matter
    }
  }
}

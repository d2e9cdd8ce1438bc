import { LinuxError } from '../ffi/errno.js';
import { NetlinkSocket } from '../net/netlink.js';
import { watchReadable } from '../net/watch.js';
import { NFTABLES_GROUP, openNftables, type RuleChange, readRuleChange } from './nftables.js';

/**
 * RTNLGRP_* of linux/rtnetlink.h, as bits: links; addresses, routes and rules of both families; forwarding settings.
 */
const GROUPS = [1, 5, 7, 8, 9, 11, 19, 24, 25].reduce((bits, group) => bits | (1 << (group - 1)), 0);

export interface Announcements {
  close(): void;
}

/**
 * Reports changes of this network namespace that the kernel announces, once for all that happen at the same time. Lost
 * announcements (ENOBUFS) count as a change.
 *
 * @param onChange gets the last other program that has changed nft rules meanwhile, if one has
 */
export function watchAnnouncements(onChange: (rules: RuleChange | undefined) => void): Announcements {
  const watches = [() => new NetlinkSocket(GROUPS), () => openNftables(NFTABLES_GROUP)].flatMap((open) => {
    try {
      return watchSocket(open(), onChange);
    } catch (error) {
      if (error instanceof LinuxError) return []; // then the reconciler only checks every 30 s
      throw error;
    }
  });
  return {
    close() {
      for (const watch of watches) watch.close();
    },
  };
}

function watchSocket(
  socket: NetlinkSocket,
  onChange: (rules: RuleChange | undefined) => void,
): Announcements {
  const read = (): void => {
    const rules = socket.notifications().messages.flatMap((message) => readRuleChange(message) ?? []);
    onChange(rules.at(-1));
  };
  const watch = watchReadable(socket.fd, read, () => socket.close());
  watch.unref();
  return watch;
}

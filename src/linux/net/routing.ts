import type { Cidr } from '../../ip/cidr.js';

/** The table that `ip route` shows, linux/rtnetlink.h. */
export const MAIN_TABLE = 254;
/** The table of this machine's own addresses. */
export const LOCAL_TABLE = 255;

/** What a rule does: FR_ACT_* of linux/fib_rules.h. The last three drop the packet. */
export type RuleAction = 'lookup' | 'goto' | 'nop' | 'blackhole' | 'unreachable' | 'prohibit';

/** A rule of policy routing, as `ip rule` shows it. What is undefined does not matter to it. */
export interface Rule {
  readonly family: 4 | 6;
  /** Rules are looked at in this order. */
  readonly priority: number;
  readonly action: RuleAction;
  /** Of `lookup`. */
  readonly table: number;
  /** Of `goto`: the priority to go on at. */
  readonly target: number | undefined;
  readonly to: Cidr | undefined;
  readonly from: Cidr | undefined;
  readonly inputDevice: string | undefined;
  readonly outputDevice: string | undefined;
  /** 0 where the mark does not matter. */
  readonly mark: number;
  readonly mask: number;
  /** Routes with a prefix of so many bits, or fewer, do not count; -1 for none. */
  readonly suppressPrefix: number;
  /** Only of a device in a VRF. */
  readonly isOfMaster: boolean;
  /** Only certain users, ports, protocols or types of service. */
  readonly isPartial: boolean;
  /** It is for everything but what it says. */
  readonly isInverted: boolean;
}

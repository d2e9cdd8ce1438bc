import type { Cidr } from '../../ip/cidr.js';

/** The table that `ip route` shows, linux/rtnetlink.h. */
export const MAIN_TABLE = 254;
/** The table of this machine's own addresses. */
export const LOCAL_TABLE = 255;

/** A rule's action: FR_ACT_* of linux/fib_rules.h. The last three drop the packet. */
export type RuleAction = 'lookup' | 'goto' | 'nop' | 'blackhole' | 'unreachable' | 'prohibit';

/** A rule of policy routing, as `ip rule` shows it. Undefined conditions match every packet. */
export interface Rule {
  readonly family: 4 | 6;
  /** Rules apply in ascending order of priority. */
  readonly priority: number;
  readonly action: RuleAction;
  /** The table of `lookup`. */
  readonly table: number;
  /** The priority that `goto` jumps to. */
  readonly target: number | undefined;
  readonly to: Cidr | undefined;
  readonly from: Cidr | undefined;
  readonly inputDevice: string | undefined;
  readonly outputDevice: string | undefined;
  /** 0 matches any mark. */
  readonly mark: number;
  readonly mask: number;
  /** Routes with a prefix of this length or less are ignored; -1 for none. */
  readonly suppressPrefix: number;
  /** Only for a device in a VRF. */
  readonly isOfMaster: boolean;
  /** Only for certain users, ports, protocols or types of service. */
  readonly isPartial: boolean;
  /** It applies to all packets that do not match. */
  readonly isInverted: boolean;
}

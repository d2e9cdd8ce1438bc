import type { Cidr } from '../../ip/cidr.js';
import { listBoth } from './netlink.js';
import { Attributes, type NetlinkMessage } from './netlink-message.js';
import type { Rule, RuleAction } from './routing.js';
import { AF } from './socket-address.js';

/** linux/rtnetlink.h. */
const RTM = { newRule: 32, getRule: 34 } as const;

/**
 * struct fib_rule_hdr, linux/fib_rules.h: family u8, destination's prefix u8, source's prefix u8, tos u8, table u8, two
 * reserved bytes, action u8, flags u32.
 */
const HEADER = {
  family: 0,
  toPrefix: 1,
  fromPrefix: 2,
  tos: 3,
  table: 4,
  action: 7,
  flags: 8,
  size: 12,
} as const;
const INVERT = 2;

/** enum fib_rule attributes, linux/fib_rules.h. */
const FRA = {
  to: 1,
  from: 2,
  inputDevice: 3,
  goto: 4,
  priority: 6,
  mark: 10,
  suppressPrefix: 14,
  table: 15,
  mask: 16,
  outputDevice: 17,
  masterDevice: 19,
  users: 20,
  protocol: 22,
  sourcePorts: 23,
  destinationPorts: 24,
} as const;

/** FR_ACT_* by number, linux/fib_rules.h; the last three drop the packet. */
const ACTIONS: Readonly<Record<number, RuleAction>> = {
  1: 'lookup',
  2: 'goto',
  6: 'blackhole',
  7: 'unreachable',
  8: 'prohibit',
};

/** The rules of IPv4 and IPv6, each in order. @throws LinuxError */
export const listRules = (): Rule[] =>
  listBoth(RTM.getRule, HEADER.size, 'list the routing rules').flatMap((answer) => readRule(answer) ?? []);

/** Reads an RTM_NEWRULE; undefined if it is a different message or cut short. */
function readRule({ type, payload }: NetlinkMessage): Rule | undefined {
  if (type !== RTM.newRule || payload.byteLength < HEADER.size) return undefined;
  const family = payload.getUint8(HEADER.family);
  if (family !== AF.inet && family !== AF.inet6) return undefined;
  const attributes = new Attributes(payload, HEADER.size);
  const network = (attribute: number, prefix: number): Cidr | undefined => {
    const address = attributes.bytes(attribute);
    return address && { address, prefix: payload.getUint8(prefix) };
  };
  const suppressed = attributes.u32(FRA.suppressPrefix) ?? NONE;
  const partial = [FRA.users, FRA.protocol, FRA.sourcePorts, FRA.destinationPorts];
  return {
    family: family === AF.inet ? 4 : 6,
    priority: attributes.u32(FRA.priority) ?? 0,
    action: ACTIONS[payload.getUint8(HEADER.action)] ?? 'nop',
    table: attributes.u32(FRA.table) ?? payload.getUint8(HEADER.table),
    target: attributes.u32(FRA.goto),
    to: network(FRA.to, HEADER.toPrefix),
    from: network(FRA.from, HEADER.fromPrefix),
    inputDevice: attributes.text(FRA.inputDevice),
    outputDevice: attributes.text(FRA.outputDevice),
    mark: attributes.u32(FRA.mark) ?? 0,
    mask: attributes.u32(FRA.mask) ?? NONE,
    suppressPrefix: suppressed === NONE ? -1 : suppressed,
    isOfMaster: attributes.bytes(FRA.masterDevice)?.[0] === 1,
    isPartial:
      payload.getUint8(HEADER.tos) !== 0 || partial.some((each) => attributes.bytes(each) !== undefined),
    isInverted: (payload.getUint32(HEADER.flags, true) & INVERT) !== 0,
  };
}

/** The kernel's form of -1, and of a mask of all bits. */
const NONE = 0xffff_ffff;

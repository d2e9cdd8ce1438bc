import { createHash } from 'node:crypto';
import { ERRNO, LinuxError } from '../ffi/errno.js';
import { NETLINK, NetlinkSocket } from '../net/netlink.js';
import { Attributes, MessageWriter, type NetlinkMessage, NLM_F } from '../net/netlink-message.js';
import { runProgram } from '../process/program.js';

/*
 * The kernel's nftables. They are read over netlink, without a process; only changes run nft(8).
 */

/** linux/netfilter/nfnetlink.h, linux/netfilter/nf_tables.h: a message's type is its subsystem and its number. */
const SUBSYSTEM = 10 << 8;
const MESSAGE = {
  newTable: SUBSYSTEM,
  getTable: SUBSYSTEM | 1,
  getChain: SUBSYSTEM | 4,
  getRule: SUBSYSTEM | 7,
  getSet: SUBSYSTEM | 10,
  getElements: SUBSYSTEM | 13,
  newGeneration: SUBSYSTEM | 15,
  getGeneration: SUBSYSTEM | 16,
} as const;
/** The multicast group of changes, as a bit. */
export const NFTABLES_GROUP = 1 << (7 - 1);

/** struct nfgenmsg: family u8, version u8, resource u16 (changes with every generation). */
const NFGENMSG = { family: 0, size: 4 } as const;
const NFPROTO_INET = 1;
const NFPROTO_UNSPEC = 0;

/** For tables, chains, rules, sets and lists of elements: the table's name, then the object's name. */
const ATTRIBUTE = { table: 1, name: 2 } as const;
const GENERATION = { id: 1, pid: 2, program: 3 } as const;

const request = (type: number, flags: number, family = NFPROTO_INET): MessageWriter => {
  const message = new MessageWriter(type, NLM_F.request | flags, NFGENMSG.size);
  message.fixed.setUint8(NFGENMSG.family, family);
  return message;
};

/**
 * A fingerprint of a table of family inet. It includes the table's number in the kernel, so that a table that was
 * removed and made again differs.
 *
 * @returns undefined if there is no such table
 * @throws LinuxError
 */
export function tableFingerprint(socket: NetlinkSocket, name: string): string | undefined {
  const what = `look for the nft table ${name}`;
  const ofTable = (type: number): MessageWriter => request(type, NLM_F.dump).text(ATTRIBUTE.table, name);
  const isOurs = ({ payload }: NetlinkMessage): boolean =>
    new Attributes(payload, NFGENMSG.size).text(ATTRIBUTE.table) === name;
  const hash = createHash('sha256');
  const add = (messages: readonly NetlinkMessage[]): void => {
    for (const { type, payload } of messages) {
      const { buffer, byteOffset, byteLength } = payload;
      hash.update(`${type} ${byteLength} `);
      hash.update(new Uint8Array(buffer, byteOffset + NFGENMSG.size, byteLength - NFGENMSG.size));
    }
  };
  try {
    add(socket.request(request(MESSAGE.getTable, NLM_F.ack).text(ATTRIBUTE.table, name), what));
    const sets = socket.request(ofTable(MESSAGE.getSet), what).filter(isOurs);
    for (const type of [MESSAGE.getChain, MESSAGE.getRule]) {
      add(socket.request(ofTable(type), what).filter(isOurs));
    }
    add(sets);
    for (const set of sets) {
      const setName = new Attributes(set.payload, NFGENMSG.size).text(ATTRIBUTE.name) ?? '';
      add(socket.request(ofTable(MESSAGE.getElements).text(ATTRIBUTE.name, setName), what));
    }
  } catch (error) {
    if (error instanceof LinuxError && error.errno === ERRNO.ENOENT) return undefined;
    throw error;
  }
  return hash.digest('hex');
}

/** A number that grows with every change of the rules by any program. @throws LinuxError */
function rulesGeneration(socket: NetlinkSocket): number {
  const [answer] = socket.request(
    request(MESSAGE.getGeneration, NLM_F.ack, NFPROTO_UNSPEC),
    'read the generation of the nft rules',
  );
  return answer === undefined ? 0 : (bigEndian(answer, GENERATION.id) ?? 0);
}

/** A program that has changed the rules. */
export interface RuleChange {
  readonly pid: number;
  readonly program: string;
}

/** Reads the announcement of another program's change; undefined if it is a different announcement. */
export function readRuleChange(message: NetlinkMessage): RuleChange | undefined {
  if (message.type !== MESSAGE.newGeneration) return undefined;
  const pid = bigEndian(message, GENERATION.pid) ?? 0;
  if (ownProcesses.has(pid)) return undefined;
  const program = new Attributes(message.payload, NFGENMSG.size).text(GENERATION.program);
  return { pid, program: program ?? '' };
}

function bigEndian({ payload }: NetlinkMessage, type: number): number | undefined {
  const bytes = new Attributes(payload, NFGENMSG.size).bytes(type);
  return bytes?.length === 4 ? new DataView(bytes.buffer).getUint32(0) : undefined;
}

/**
 * Replaces the table with this name in one step.
 *
 * @param text `table inet NAME { ... }`
 * @returns its fingerprint
 * @throws LametunError `missing` without nft; after any error of nft, nothing has changed
 */
export function replaceTable(socket: NetlinkSocket, name: string, text: string): string {
  // A change by another program before this read would pass for this program's.
  for (let attempt = 1; ; attempt++) {
    const before = rulesGeneration(socket);
    runNft([...removal(name), text]);
    const found = tableFingerprint(socket, name);
    const isAlone = rulesGeneration(socket) === before + 1;
    if (found !== undefined && (isAlone || attempt === ATTEMPTS)) return found;
    if (attempt === ATTEMPTS)
      throw new LinuxError(`keep the nft table ${name}`, ERRNO.ENOENT, 'another program removes it');
  }
}

const ATTEMPTS = 3;

/** @throws LametunError */
export function removeTables(names: readonly string[]): void {
  if (names.length > 0) runNft(names.flatMap(removal));
}

/** Removes a table if it exists. */
const removal = (table: string): string[] => [`add table inet ${table}`, `delete table inet ${table}`];

const NFT_TIMEOUT = 10_000; // milliseconds; it takes ten of them

/** Processes that this program ran lately: their changes are not interference. */
const ownProcesses = new Set<number>();
const MANY = 64;

/** Executes all commands or none. */
function runNft(commands: readonly string[]): void {
  const input = `${commands.join('\n')}\n`;
  runProgram('nft', ['-f', '-'], { input, purpose: 'forwarding', timeout: NFT_TIMEOUT, onProcess: remember });
}

function remember(pid: number): void {
  ownProcesses.add(pid);
  for (const oldest of ownProcesses) if (ownProcesses.size > MANY) ownProcesses.delete(oldest);
}

/** @throws LinuxError where the kernel has no nftables */
export const openNftables = (groups = 0): NetlinkSocket => new NetlinkSocket(groups, NETLINK.netfilter);

import { type Answer, encode, type RecordType } from 'dns-packet';
import { DNS_TYPE, type NameAnswer } from './names.js';

/** The header of a message, RFC 1035 §4.1.1: id u16, flags u16, then four counts of records, u16 each. Big-endian. */
const HEADER = { id: 0, flags: 2, questions: 4, authorities: 8, additionals: 10, size: 12 } as const;
const FLAG = {
  ...{ response: 0x8000, opcode: 0x7800, authoritative: 0x400, truncated: 0x200 },
  ...{ recursionDesired: 0x100, recursionAvailable: 0x80 },
} as const;
const CLASS = { in: 1, any: 255 } as const;
const MAX_NAME = 255;

/** How long an answer may be cached, seconds. Short, because nodes come and go. */
const TTL = { found: 10, not: 3 } as const;
/** The largest message that passes every path in one piece: DNS flag day 2020. */
const EDNS_SIZE = 1232;

export interface Query {
  readonly id: number;
  /** As in the question, without a dot at the end. */
  readonly name: string;
  readonly type: number;
  readonly class: number;
  readonly recursionDesired: boolean;
  readonly edns: boolean;
  /** Where the question ends. */
  readonly end: number;
}

/** Reads a query with one question, as all programs send it. @returns undefined for everything else */
export function readQuery(message: Buffer): Query | undefined {
  if (message.length < HEADER.size) return undefined;
  const flags = message.readUInt16BE(HEADER.flags);
  if ((flags & (FLAG.response | FLAG.opcode)) !== 0) return undefined;
  if (message.readUInt32BE(HEADER.questions) !== 0x1_0000) return undefined; // one question, no answers
  if (message.readUInt16BE(HEADER.authorities) !== 0) return undefined;
  const name = readName(message, HEADER.size);
  if (name === undefined || name.end + 4 > message.length) return undefined;
  const end = name.end + 4;
  return {
    id: message.readUInt16BE(HEADER.id),
    name: name.text,
    type: message.readUInt16BE(name.end),
    class: message.readUInt16BE(name.end + 2),
    recursionDesired: (flags & FLAG.recursionDesired) !== 0,
    // An OPT record begins with the root's name and its type, RFC 6891 §6.1.2.
    edns:
      message.readUInt16BE(HEADER.additionals) > 0 &&
      message[end] === 0 &&
      end + 3 <= message.length &&
      message.readUInt16BE(end + 1) === DNS_TYPE.opt,
    end,
  };
}

/** Reads the name of a question, which contains no pointers: nothing precedes it. Bytes beyond ASCII stay distinct. */
function readName(message: Buffer, start: number): { text: string; end: number } | undefined {
  const labels: string[] = [];
  let at = start;
  for (;;) {
    const length = message[at];
    if (length === undefined || length > 63) return undefined;
    at += 1;
    if (length === 0) return { text: labels.join('.'), end: at };
    if (at + length > message.length || at + length - start > MAX_NAME) return undefined;
    const label = message.toString('latin1', at, at + length);
    labels.push(label.replaceAll('.', '\\.'));
    at += length;
  }
}

/** Whether a question is about the Internet, and not of another class such as CHAOS. */
export const isInternet = (query: Query): boolean => query.class === CLASS.in || query.class === CLASS.any;

/** Writes the answer to a query for a name of the network. */
export function writeAnswer(query: Query, message: Buffer, answer: NameAnswer): Buffer {
  // The encoder would change names with such characters. DNS allows them, but no node has one.
  if (!/^[\x21-\x5b\x5d-\x7e]*$/.test(query.name)) return writeFailure(message, query, answer.rcode);
  const soa: Answer = {
    type: 'SOA',
    name: answer.zone,
    ttl: TTL.not,
    data: {
      mname: answer.zone,
      rname: `nobody.${answer.zone}`,
      ...{ serial: 1, refresh: 3600, retry: 600, expire: 86400, minimum: TTL.not },
    },
  };
  const records = answer.records.map(
    ({ type, data }): Answer => ({ type, data, name: query.name, ttl: TTL.found }),
  );
  const ownSoa = query.type === DNS_TYPE.soa && query.name.toLowerCase() === answer.zone;
  const answers = ownSoa ? [soa] : records;
  return encode({
    type: 'response',
    id: query.id,
    flags: answerFlags(query) | FLAG.authoritative | answer.rcode,
    questions: [
      { name: query.name, type: typeName(query.type), class: query.class === CLASS.any ? 'ANY' : 'IN' },
    ],
    answers,
    authorities: answers.length === 0 ? [soa] : [],
    additionals: query.edns
      ? [
          {
            type: 'OPT',
            name: '.',
            udpPayloadSize: EDNS_SIZE,
            ...{ extendedRcode: 0, ednsVersion: 0, flags: 0, flag_do: false, options: [] },
          },
        ]
      : [],
  });
}

/** Writes an answer without records: the query's header and question, with a code. */
export function writeFailure(message: Buffer, query: Query, rcode: number): Buffer {
  const answer = Buffer.from(message.subarray(0, query.end));
  answer.writeUInt16BE(FLAG.response | answerFlags(query) | rcode, HEADER.flags);
  answer.writeUInt32BE(0, HEADER.authorities);
  return answer;
}

const answerFlags = ({ recursionDesired }: Query): number =>
  FLAG.recursionAvailable | (recursionDesired ? FLAG.recursionDesired : 0);

/** The name of a type for dns-packet. It reads unknown types by number, so this spells all types as unknown. */
const typeName = (type: number): RecordType => `UNKNOWN_${type}` as RecordType;

/** Whether a message answers a query: it has its id and question, RFC 5452 §9.1. Upper and lower case may differ. */
export function answers(reply: Buffer, id: number, query: Buffer, end: number): boolean {
  if (reply.length < end || reply.readUInt16BE(HEADER.id) !== id) return false;
  if ((reply.readUInt16BE(HEADER.flags) & FLAG.response) === 0) return false;
  if (reply.readUInt16BE(HEADER.questions) !== 1) return false;
  const question = (bytes: Buffer): string => bytes.toString('latin1', HEADER.size, end).toLowerCase();
  return question(reply) === question(query);
}

export const isTruncated = (reply: Buffer): boolean =>
  (reply.readUInt16BE(HEADER.flags) & FLAG.truncated) !== 0;

export const rcodeOf = (reply: Buffer): number => reply.readUInt16BE(HEADER.flags) & 0xf;

/** The same message with another id. */
export function withId(message: Buffer, id: number): Buffer {
  const copy = Buffer.from(message);
  copy.writeUInt16BE(id, HEADER.id);
  return copy;
}

/** The same message with recursion desired or not, RFC 1035 §4.1.1. */
export function withRecursion(message: Buffer, desired: boolean): Buffer {
  const copy = Buffer.from(message);
  const flags = copy.readUInt16BE(HEADER.flags) & ~FLAG.recursionDesired;
  copy.writeUInt16BE(desired ? flags | FLAG.recursionDesired : flags, HEADER.flags);
  return copy;
}

/** Codes after which another name server may have an answer: SERVFAIL, NOTIMP, REFUSED. */
export const RCODE_RETRY: ReadonlySet<number> = new Set([2, 4, 5]);

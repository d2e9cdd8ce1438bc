import * as v from 'valibot';
import { LametunError } from '../errors.js';
import {
  type AdminAnswers,
  type Answers,
  adminAnswers,
  agreement,
  answers,
  type Hello,
  type HubMessage,
  hello,
  hubMessage,
  type NodeMessage,
  nodeMessage,
  refusal,
  type Welcome,
} from './messages.js';

/** @returns undefined when it is invalid */
export const parseHello = (value: unknown): Hello | undefined => ifValid(hello, value);

/** @returns undefined when it is invalid */
export function parseWelcome(value: unknown): Welcome | undefined {
  const isRefusal = typeof value === 'object' && value !== null && 'refused' in value;
  return ifValid<Welcome>(isRefusal ? refusal : agreement, value);
}

function ifValid<T>(schema: v.GenericSchema<unknown, T>, value: unknown): T | undefined {
  const result = v.safeParse(schema, value);
  return result.success ? result.output : undefined;
}

/** @throws LametunError('protocol') that names the field, never its value */
export const parseNodeMessage = (value: unknown): NodeMessage => parse(nodeMessage, value);

/** `parseAnswer` checks the `value` of an answer, once its request is known. @throws LametunError('protocol') */
export const parseHubMessage = (value: unknown): HubMessage => parse(hubMessage, value);

/** @throws LametunError('protocol') */
export const parseAnswer = <T extends keyof typeof answers>(type: T, value: unknown): Answers[T] =>
  parse(answers[type] as unknown as v.GenericSchema<unknown, Answers[T]>, value);

/** @throws LametunError('protocol') */
export const parseAdminAnswer = <Op extends keyof AdminAnswers>(op: Op, value: unknown): AdminAnswers[Op] =>
  parse(adminAnswers[op] as unknown as v.GenericSchema<unknown, AdminAnswers[Op]>, value);

/** @throws LametunError('protocol') that names the field, never its value */
export function parse<T>(schema: v.GenericSchema<unknown, T>, value: unknown): T {
  const result = v.safeParse(schema, value, { abortEarly: true });
  if (result.success) return result.output;
  throw new LametunError('protocol', explain(result.issues[0]));
}

/** Valibot's own messages repeat the value, which may be secret, or as long as the message. These do not. */
function explain(issue: v.BaseIssue<unknown>): string {
  const path = issue.path?.map(({ key }) => safeKey(key)).join('.') ?? '';
  const where = path === '' ? 'the message' : path;
  const isObject = issue.type === 'strict_object' || issue.type === 'object';
  if (isObject && issue.expected === 'never') return `${where} is unknown`;
  if (isObject && issue.path !== undefined && issue.received === 'undefined') return `${where} is missing`;
  if (OURS.has(issue.type)) return `${where} ${issue.message}`;
  return `${where} must be ${issue.expected === 'Object' ? 'an object' : (issue.expected ?? 'something else')}`;
}

/** The kinds of issue whose texts are in the schemas. */
const OURS = new Set([
  'string',
  'regex',
  'number',
  'integer',
  'min_value',
  'max_value',
  'boolean',
  'check',
  'array',
  'min_length',
  'max_length',
  'picklist',
]);

/** A key of an untrusted object. */
const safeKey = (key: unknown): string =>
  typeof key === 'number' ? String(key) : typeof key === 'string' && /^\w{1,32}$/.test(key) ? key : '?';

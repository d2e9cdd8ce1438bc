import { createHash } from 'node:crypto';
import type { ProcessIdentity } from '../../linux/files/runtime-state.js';

/** What /etc/resolv.conf says, resolv.conf(5). */
export interface ResolvConf {
  readonly nameservers: readonly string[];
  readonly search: readonly string[];
  /** Every other line that says something, as it is: `options edns0`, `sortlist ...`. */
  readonly others: readonly string[];
}

/** Who has taken the file over, written into it, so that whoever finds it knows what to do. */
export interface Owner {
  /** Random. */
  readonly token: string;
  readonly process: ProcessIdentity;
  /** Process numbers are told apart by it after the machine was started again. */
  readonly boot: string;
  readonly device: string;
  /** The name server that it put in. */
  readonly address: string;
  /** Where the file is that was there before. */
  readonly backup: string;
  /** Whether there was none. */
  readonly missing: boolean;
  /** For which other networks' nodes it answers, by address. Absent: the lametun is from before it did. */
  readonly siblings?: readonly string[];
}

const OWNER_LINE = '# lametun-owner ';

export function parseResolvConf(text: string): ResolvConf {
  const nameservers: string[] = [];
  const others: string[] = [];
  let search: string[] = [];
  for (const line of text.split('\n')) {
    const [keyword, ...words] = line.trim().split(/\s+/);
    if (keyword === '' || keyword === undefined || /^[#;]/.test(keyword)) continue;
    if (keyword === 'nameserver' && words[0] !== undefined) nameservers.push(words[0]);
    else if (keyword === 'search' || keyword === 'domain')
      search = words; // the last one counts
    else others.push(line.trim());
  }
  return { nameservers, search, others };
}

/** The file as it is while lametun has it: one name server, which knows how to ask those that were there before. */
export function renderResolvConf(before: ResolvConf, domains: readonly string[], owner: Owner): string {
  const search = [...before.search.filter((name) => !domains.includes(name.toLowerCase())), ...domains];
  const body = [
    `nameserver ${owner.address}`,
    `search ${search.join(' ')}`,
    ...before.others,
    ...before.nameservers.map((server) => `# before: nameserver ${server}`),
  ];
  const back = owner.missing
    ? ['# There was no such file before; it is removed when lametun stops.']
    : [
        `# The file that was here is ${owner.backup}; it is put back when lametun stops.`,
        `# By hand: mv ${owner.backup} /etc/resolv.conf`,
      ];
  const text = `${body.join('\n')}\n`;
  return [
    `# Written by lametun on ${owner.device}, so that names in ${domains.join(' and ')} are found.`,
    ...back,
    `${OWNER_LINE}${JSON.stringify({ ...owner, hash: hashOf(text) })}`,
    text,
  ].join('\n');
}

/** Whose a file is, and whether it still is as lametun wrote it; undefined when it is not lametun's. */
export function ownerOf(text: string): (Owner & { readonly intact: boolean }) | undefined {
  const at = text.indexOf(OWNER_LINE);
  if (at < 0) return undefined;
  const end = text.indexOf('\n', at);
  try {
    const { hash, ...owner } = JSON.parse(text.slice(at + OWNER_LINE.length, end)) as Owner & {
      hash: string;
    };
    if (typeof owner.token !== 'string' || typeof owner.backup !== 'string') return undefined;
    return { ...owner, intact: hash === hashOf(text.slice(end + 1)) };
  } catch {
    return undefined;
  }
}

/** What somebody made of our file, without what is ours in it. */
export function withoutOurs(text: string, { address }: Owner, domain?: string): string {
  const lines = text.split('\n').flatMap((line) => {
    const before = /^# before: (nameserver .*)/.exec(line);
    if (before !== null) return [before[1]!];
    if (line.startsWith('#') || line.trim() === `nameserver ${address}`) return [];
    if (!line.startsWith('search ')) return [line];
    const search = line.split(/\s+/).filter((word) => word !== domain && !word.endsWith('.lametun'));
    return search.length > 1 ? [search.join(' ')] : [];
  });
  return lines.join('\n');
}

const hashOf = (text: string): string => createHash('sha256').update(text).digest('hex').slice(0, 32);

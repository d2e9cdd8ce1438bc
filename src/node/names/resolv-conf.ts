import { createHash } from 'node:crypto';
import type { ProcessIdentity } from '../../linux/files/runtime-state.js';

/** The content of /etc/resolv.conf, resolv.conf(5). */
export interface ResolvConf {
  readonly nameservers: readonly string[];
  readonly search: readonly string[];
  /** All other lines except comments: `options edns0`, `sortlist ...`. */
  readonly others: readonly string[];
}

/** The lametun that has taken the file over. It is written into the file, so that the next process can restore it. */
export interface Owner {
  /** Random. */
  readonly token: string;
  readonly process: ProcessIdentity;
  /** The boot in which the process number is valid. */
  readonly boot: string;
  readonly device: string;
  /** Its name server. */
  readonly address: string;
  /** The path of the original file. */
  readonly backup: string;
  /** Whether there was no original file. */
  readonly missing: boolean;
  /** The addresses of the siblings that it answers for. Older versions do not have it, and answer for none. */
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
      search = words; // the last line counts
    else others.push(line.trim());
  }
  return { nameservers, search, others };
}

/** The file while lametun has it. Its only name server also asks those that were there before. */
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
        `# The original file is ${owner.backup}; it is put back when lametun stops.`,
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

/** The owner of a file, and whether the file is unchanged since; undefined for a file that lametun did not write. */
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

/** A file that lametun wrote and others changed, without the lines of lametun. */
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

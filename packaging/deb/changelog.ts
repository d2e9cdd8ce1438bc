import { execFileSync } from 'node:child_process';

export interface Release {
  /** As in package.json. */
  readonly version: string;
  /** The last commit's author, `NAME <ADDRESS>`: whoever releases. */
  readonly maintainer: string;
  /** Seconds since 1970: SOURCE_DATE_EPOCH, or the date of the last commit. */
  readonly date: number;
}

/** Debian's version of a semantic version: `1.0.0-rc.1` is `1.0.0~rc.1`, which is older than `1.0.0`. deb-version(7). */
export const debianVersion = (version: string): string => version.replace('-', '~');

/** @throws Error outside a clone */
export function thisRelease(version: string): Release {
  const git = (format: string): string =>
    execFileSync('git', ['log', '-1', `--format=${format}`], { encoding: 'utf8' }).trim();
  const date = Number(process.env['SOURCE_DATE_EPOCH'] ?? git('%ct'));
  if (!Number.isSafeInteger(date)) throw new Error('SOURCE_DATE_EPOCH is not a number of seconds');
  return { version, maintainer: git('%an <%ae>'), date };
}

/**
 * The newest part of CHANGELOG.md in Debian's format, deb-changelog(5).
 *
 * @throws Error if CHANGELOG.md has no changes of this release
 */
export function debianChangelog(markdown: string, { version, maintainer, date }: Release): string {
  const newest = markdown.split(/^## \[/m)[1];
  const [, ...sections] = (newest ?? '').split(/^### /m);
  if (sections.length === 0) throw new Error('CHANGELOG.md has no changes of this release');
  const body = sections.map((section) => {
    const [title = '', ...entries] = section.split(/\n(?:- |\n+- )/);
    return `  [ ${title.trim()} ]\n${entries.map((entry) => wrap(plain(entry))).join('')}`;
  });
  const when = new Date(date * 1000).toUTCString().replace('GMT', '+0000'); // RFC 5322
  return `lametun (${debianVersion(version)}) stable; urgency=medium\n\n${body.join('\n')}\n -- ${maintainer}  ${when}\n`;
}

/** Without Markdown's marks. */
const plain = (entry: string): string =>
  entry
    .replaceAll(/\*\*|`/g, '')
    .replaceAll(/\[([^\]]*)\]\([^)]*\)/g, '$1')
    .trim();

const WIDTH = 76;

function wrap(text: string): string {
  const lines = [''];
  for (const word of text.split(/\s+/)) {
    const line = lines.at(-1)!;
    if (line !== '' && line.length + 1 + word.length > WIDTH) lines.push(word);
    else lines[lines.length - 1] = line === '' ? word : `${line} ${word}`;
  }
  return lines.map((line, i) => `${i === 0 ? '  * ' : '    '}${line}\n`).join('');
}

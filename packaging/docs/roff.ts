/** Text for man(7), in ASCII. */

/** A part of a manual page, or of a paragraph in it: lines of roff. */
export type Lines = readonly string[];

/** Special characters that a user may type or copy: groff_char(7). */
const TYPED: Readonly<Record<string, string>> = {
  '\\': '\\e',
  '-': '\\-',
  "'": '\\(aq',
  '"': '\\(dq',
  '`': '\\(ga',
  '^': '\\(ha',
  '~': '\\(ti',
};
const typed = (text: string): string => text.replaceAll(/[\\\-'"`^~]/g, (char) => TYPED[char]!);

/** What a user types as it is. */
export const bold = (text: string): string => `\\fB${typed(text)}\\fR`;
/** What a value replaces. */
export const italic = (text: string): string => `\\fI${typed(text)}\\fR`;

/** The width of the source, like that of the code. */
const WIDTH = 80;

/** Prose, in which `backquotes` mark what a user types, and *stars* what a value replaces. Each sentence begins a line. */
export function prose(text: string): Lines {
  const marked = text.replaceAll(MARKS, (other, code, value, option) => {
    if (code !== undefined) return bold(code);
    if (value !== undefined) return italic(value);
    return option !== undefined ? bold(option) : typed(other);
  });
  return marked.split(/(?<=[.?]) (?=[A-Z\\])/).flatMap(wrap);
}

/** An option needs no mark. */
const MARKS = /`([^`]+)`|\*([^*]+)\*|(?<![\w-])(--?[a-z][a-z-]*)|[\\^~]/g;

function wrap(sentence: string): string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of sentence.split(' ')) {
    if (line !== '' && line.length + 1 + word.length > WIDTH) {
      lines.push(line);
      line = '';
    }
    line += line === '' ? word : ` ${word}`;
  }
  return [...lines, line].map((each) => (/^[.']/.test(each) ? `\\&${each}` : each));
}

/** The words of a help text as a sentence. */
export const sentence = (text: string): string => `${text[0]!.toUpperCase()}${text.slice(1)}.`;

export const paragraphs = (texts: readonly string[]): Lines =>
  texts.flatMap((text, i) => (i === 0 ? prose(text) : ['.PP', ...prose(text)]));

/** A list of terms, each with its text. */
export const terms = (rows: readonly (readonly [term: string, about: string])[]): Lines =>
  rows.flatMap(([term, about]) => ['.TP', term, ...prose(about)]);

export const section = (title: string, lines: Lines): Lines =>
  lines.length === 0 ? [] : [`.SH ${title}`, ...lines];

export const subsection = (title: string, lines: Lines): Lines => [`.SS ${title}`, ...lines];

/** Commands with what they do. */
export const examples = (rows: readonly { readonly run: string; readonly does: string }[]): Lines =>
  rows.flatMap(({ run, does }, i) => [
    ...(i === 0 ? [] : ['.PP']),
    ...prose(`${sentence(does).slice(0, -1)}:`),
    '.PP',
    '.in +4n',
    '.EX',
    typed(run),
    '.EE',
    '.in',
  ]);

/** `lametun-serve(1)`, and so on. */
export const references = (pages: readonly (readonly [name: string, volume: number])[]): Lines =>
  pages.map(([name, volume], i) => `.BR ${typed(name)} (${volume})${i < pages.length - 1 ? ',' : ''}`);

export interface Source {
  /** `lametun 0.1.0`. */
  readonly program: string;
  /** `2026-12-01`; empty before the first release. */
  readonly date: string;
}

/** No word is cut, and no line stretched: what is copied from the page stays whole. */
const RAGGED: Lines = ['.nh', '.ad l'];

export const page = (name: string, volume: number, { program, date }: Source, lines: Lines): string => {
  const title = volume === 1 ? 'User Commands' : 'System Administration';
  const head = `.TH ${typed(name.toUpperCase())} ${volume} "${date}" "${program}" "${title}"`;
  return `${[head, ...RAGGED, ...lines].join('\n')}\n`;
};

import { UNSHOWN } from '../../protocol/text.js';

/** A word of a command line, systemd.service(5): `%` and `$` doubled, and quoted if necessary. */
export const quoteArgument = (word: string): string => quotePath(word.replaceAll('$', '$$$$'));

/** A path in a list, systemd.syntax(7): `%` doubled, and quoted if necessary; a newline becomes `\x0a`. */
export function quotePath(path: string): string {
  const text = path.replaceAll('%', '%%');
  if (/^[\w@%+=:,./$-]+$/.test(text)) return text;
  const escaped = text
    .replaceAll('\\', '\\\\')
    .replaceAll('"', '\\"')
    .replace(UNSEEN, (character) => {
      const code = character.charCodeAt(0).toString(16);
      return code.length <= 2 ? `\\x${code.padStart(2, '0')}` : `\\u${code.padStart(4, '0')}`;
    });
  return `"${escaped}"`;
}

const UNSEEN = new RegExp(`[${UNSHOWN}]`, 'g');

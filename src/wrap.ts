/**
 * Finds the line breaks of a text, between words.
 *
 * @param first characters of the first line, `rest` of all others
 * @param cut whether to cut a word that is longer than a line
 * @returns begin and end of each line in the text, without the spaces at breaks
 */
export function lineBreaks(text: string, first: number, rest: number, cut: boolean): [number, number][] {
  const lines: [number, number][] = [];
  let begin = 0;
  for (let room = first; text.length - begin > room; room = rest) {
    let end = text.lastIndexOf(' ', begin + room);
    if (end < begin || text.slice(begin, end).trim() === '')
      end = cut ? begin + room : text.indexOf(' ', begin + room);
    if (end < 0) break;
    lines.push([begin, end]);
    begin = text[end] === ' ' ? end + 1 : end;
  }
  return [...lines, [begin, text.length]];
}

/** Breaks a line between words. @param indent of all lines except the first, characters */
export function wrap(line: string, width: number | undefined, indent = 0): string[] {
  if (width === undefined) return [line];
  return lineBreaks(line, width, width - indent, false).map(
    ([begin, end], i) => ' '.repeat(i === 0 ? 0 : indent) + line.slice(begin, end).trimEnd(),
  );
}

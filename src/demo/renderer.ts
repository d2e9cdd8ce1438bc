import { drawPacket, huesOf } from './boxes.js';
import { dissect } from './dissect.js';
import { fromHex, type LessonEvent, SCENES } from './events.js';
import {
  type Hue,
  type Line,
  type Look,
  merge,
  painter,
  parseText,
  type Span,
  span,
  width,
  wrap,
} from './paint.js';

/** Turns the events of the lesson into text. */
export class Renderer {
  readonly #columns: number;
  readonly #paint: (line: Line) => string;
  #last: LessonEvent['kind'] | undefined;

  constructor(look: Look) {
    this.#columns = look.width;
    this.#paint = painter(look);
  }

  /** @returns whole lines, each ended by a line feed */
  render(event: LessonEvent): string {
    const lines = this.#lines(event);
    // Output directly follows its command, or earlier output. A blank line precedes everything else.
    const together = event.kind === 'output' && (this.#last === 'command' || this.#last === 'output');
    const apart = this.#last !== undefined && !together;
    this.#last = event.kind;
    return [...(apart ? [[]] : []), ...lines].map((line) => `${this.#paint(line)}\n`).join('');
  }

  #lines(event: LessonEvent): Line[] {
    switch (event.kind) {
      case 'scene':
        return this.#heading(event.title, SCENES.indexOf(event.id) + 1);
      case 'text':
        return wrap(parseText(event.text), this.#columns - 2).map(indent);
      case 'drawing':
        return event.lines.map((line) => indent([span(line)]));
      case 'command':
        return this.#command(event.host, event.command);
      case 'output':
        return event.text
          .split('\n')
          .flatMap((text) => wrap([span(text)], this.#columns - 4).map(indentTwice));
      case 'packet':
        return [
          indent([
            span(`${event.station === undefined ? '' : `${event.station}  `}${event.place}`, 'strong'),
          ]),
          ...drawPacket(event, this.#columns - 4).map(indent),
          ...(event.remarks ?? []).flatMap((remark) => this.#remark(remark)),
        ];
      case 'bytes':
        return [indent([span(event.caption, 'strong')]), ...dump(fromHex(event.bytes)).map(indent)];
      case 'table':
        return table(event.head, event.rows).map(indent);
    }
  }

  #heading(title: string, number: number): Line[] {
    const text = ` ${number}/${SCENES.length}  ${title} `;
    const rule = '─'.repeat(Math.max(0, this.#columns - 2 - [...text].length));
    return [[span('──', 'outer'), span(text, 'title'), span(rule, 'outer')]];
  }

  /** Broken so that a shell accepts it. */
  #command(host: string, command: string): Line[] {
    const lines = wrap([span(`${host}$ `, 'quiet'), span(command, 'code')], this.#columns - 6);
    return lines.map((line, i) => [
      span(i === 0 ? '  ' : '      '),
      ...line,
      ...(i < lines.length - 1 ? [span('\\', 'code')] : []),
    ]);
  }

  #remark(text: string): Line[] {
    return wrap(parseText(text), this.#columns - 6).map((line, i) => [
      span(i === 0 ? '  ^ ' : '    ', 'strong'),
      ...line,
    ]);
  }
}

const indent = (line: Line): Line => [span('  '), ...line];
const indentTwice = (line: Line): Line => [span('    '), ...line];

const BYTES_PER_LINE = 16;

/** Sixteen bytes a line, with their letters, in the colours of their headers. */
function dump(bytes: Uint8Array): Line[] {
  const layers = dissect(bytes);
  const hues = huesOf(layers);
  const hueAt = (offset: number): Hue | 'strong' => {
    const i = layers.findIndex(({ start, end }) => offset >= start && offset < end);
    return hues[i] === undefined || hues[i] === 'payload' ? 'strong' : hues[i];
  };
  const lines: Line[] = [];
  for (let from = 0; from < bytes.length; from += BYTES_PER_LINE) {
    const offsets = Array.from({ length: BYTES_PER_LINE }, (_, i) => from + i);
    const byte = (offset: number): Span =>
      offset < bytes.length
        ? span(`${offset % 2 === 0 ? ' ' : ''}${bytes[offset]!.toString(16).padStart(2, '0')}`, hueAt(offset))
        : span(offset % 2 === 0 ? '   ' : '  ');
    const letter = (offset: number): Span => {
      const code = bytes[offset] ?? 0x20;
      const shown = code >= 0x20 && code < 0x7f ? String.fromCharCode(code) : '.';
      return span(shown, offset < bytes.length ? hueAt(offset) : 'plain');
    };
    lines.push([
      span(from.toString(16).padStart(4, '0'), 'quiet'),
      span(' '),
      ...offsets.map(byte),
      span('  '),
      ...offsets.map(letter),
    ]);
  }
  return lines.map(merge);
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): Line[] {
  const all = [head, ...rows].map((row) => row.map((cell) => parseText(cell)));
  const widths = head.map((_, column) => Math.max(...all.map((row) => width(row[column] ?? []))));
  const draw = (row: readonly Line[], style?: 'strong'): Line =>
    row.flatMap((cell, column) => {
      const padding = ' '.repeat(widths[column]! - width(cell) + (column < row.length - 1 ? 3 : 0));
      return [...(style === undefined ? cell : cell.map(({ text }) => span(text, style))), span(padding)];
    });
  const rule = [span('─'.repeat(widths.reduce((total, w) => total + w + 3, -3)), 'quiet')];
  return [draw(all[0]!, 'strong'), rule, ...all.slice(1).map((row) => draw(row))];
}

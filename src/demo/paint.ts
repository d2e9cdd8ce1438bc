import picocolors from 'picocolors';
import { lineBreaks } from '../wrap.js';

/** The meaning of a piece of text. The palette gives it a colour. */
export type Style = 'plain' | 'title' | 'strong' | 'quiet' | 'code' | 'changed' | Hue;
/** One colour for each depth of header, so that a header keeps its colour from station to station. */
export type Hue = 'outer' | 'udp' | 'information' | 'inner' | 'transport' | 'payload';

export interface Span {
  readonly text: string;
  readonly style: Style;
}
export type Line = readonly Span[];

export const span = (text: string, style: Style = 'plain'): Span => ({ text, style });

/** Columns on the terminal. Every character of the lesson has one column. */
export const width = (line: Line): number => line.reduce((total, { text }) => total + [...text].length, 0);

/** Joins neighbouring spans of one style, to save escape sequences. */
export function merge(line: Line): Line {
  const merged: { text: string; style: Style }[] = [];
  for (const { text, style } of line) {
    const last = merged.at(-1);
    if (last?.style === style) last.text += text;
    else if (text !== '') merged.push({ text, style });
  }
  return merged;
}

export interface Look {
  /** Columns to use. */
  readonly width: number;
  readonly colors: 'none' | '16' | '256';
  /** Whether line-drawing characters can be shown. */
  readonly unicode: boolean;
}

/**
 * Colours of the fixed part of the 256-colour table, each with a contrast of at least 4:1 to black and to
 * white. The first 16 are the terminal's own choice: of them only magenta and red are readable on both with
 * common palettes, and cyan and green nearly.
 */
const COLORS_256: Readonly<Record<Hue | 'quiet' | 'code' | 'changed', number>> = {
  ...{ outer: 31, udp: 133, information: 64, inner: 130, transport: 63, payload: 243 },
  ...{ quiet: 243, code: 31, changed: 161 },
};

type Painter = (text: string) => string;

/** @returns a function that turns a line into text for a terminal */
export function painter(look: Look): (line: Line) => string {
  const paint = palette(look.colors);
  return (line) => {
    const spans = look.unicode ? line : line.map(({ text, style }) => ({ text: toAscii(text), style }));
    return spans
      .map(({ text, style }) => paint[style](text))
      .join('')
      .replace(/ +$/, '');
  };
}

function palette(colors: Look['colors']): Readonly<Record<Style, Painter>> {
  const pico = picocolors.createColors(colors !== 'none');
  const fixed = (style: keyof typeof COLORS_256, simple: Painter): Painter =>
    colors === '256' ? (text) => `\x1b[38;5;${COLORS_256[style]}m${text}\x1b[39m` : simple;
  return {
    plain: (text) => text,
    title: pico.bold,
    strong: pico.bold,
    quiet: fixed('quiet', pico.dim),
    code: fixed('code', pico.magenta),
    changed: (text) => pico.bold(pico.inverse(fixed('changed', pico.red)(text))),
    outer: fixed('outer', pico.cyan),
    udp: fixed('udp', pico.magenta),
    information: fixed('information', pico.green),
    inner: fixed('inner', pico.red),
    transport: fixed('transport', pico.cyan),
    payload: fixed('payload', (text) => text),
  };
}

/** Line-drawing characters, and what stands for each in ASCII: one column, so that columns stay aligned. */
const DRAWN = '─│┌┐└┘├┤┬┴┼═╞╡→←·';
const ASCII = '-|+++++++++=++><.';
const toAscii = (text: string): string =>
  text.replace(/[^\x20-\x7e]/g, (char) => ASCII[DRAWN.indexOf(char)] ?? '?');

/** Reads `code` and *emphasis* in a paragraph. */
export function parseText(text: string): Line {
  return text
    .split(/(`[^`]+`|\*[^*]+\*)/)
    .filter((part) => part !== '')
    .map((part) => {
      if (part.startsWith('`')) return span(part.slice(1, -1), 'code');
      if (part.startsWith('*')) return span(part.slice(1, -1), 'strong');
      return span(part);
    });
}

/** Breaks a line at blanks, so that no line is wider than `columns`. A longer word is cut. */
export function wrap(line: Line, columns: number): Line[] {
  const text = line.map((part) => part.text).join('');
  return lineBreaks(text, columns, columns, true)
    .map(([begin, end]) => merge(cutLine(line, begin, end)))
    .filter((made) => made.length > 0);
}

function cutLine(line: Line, begin: number, end: number): Line {
  let at = 0;
  return line.map(({ text, style }) => {
    const from = at;
    at += text.length;
    return span(text.slice(Math.max(0, begin - from), Math.max(0, end - from)), style);
  });
}

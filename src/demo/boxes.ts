import { dissect, type Layer } from './dissect.js';
import { fromHex, type PacketEvent } from './events.js';
import { type Hue, type Line, merge, type Span, span, width } from './paint.js';

/**
 * Draws a packet as nested boxes, one for each header:
 *
 *     ┌ IPv4  192.168.1.23 → 203.0.113.5 ──────────────── 20 bytes ┐
 *     │ 4500 0074 8a30 4000 4011 6a4d c0a8 0117 cb00 7105          │
 *     │ ┌ UDP  port 1234 → port 1234 ────────────────── 8 bytes ┐ │
 *     │ │ 04d2 04d2 0060 efc4                                   │ │
 *     └─┴───────────────────────────────────────────────────────┴─┘
 *
 * @param columns how wide the outermost box is
 */
export function drawPacket(packet: PacketEvent, columns: number): Line[] {
  const bytes = fromHex(packet.bytes);
  const before = packet.before === undefined ? undefined : fromHex(packet.before);
  const changed = (offset: number): boolean => before !== undefined && bytes[offset] !== before[offset];
  const layers = dissect(bytes);
  return drawLayers({ bytes, changed, layers, hues: huesOf(layers) }, 0, columns);
}

interface Drawing {
  readonly bytes: Uint8Array;
  readonly changed: (offset: number) => boolean;
  readonly layers: readonly Layer[];
  readonly hues: readonly Hue[];
}

/** Colours depend on a header's role, so that the inner packet looks the same alone and wrapped. */
export function huesOf(layers: readonly Layer[]): Hue[] {
  const wrapped = layers.findIndex(({ name }) => name === 'packet information');
  return layers.map(({ name }, i) => {
    if (name === 'data' || name === 'HTTP' || name === 'fragment') return 'payload';
    if (name === 'packet information') return 'information';
    if (i < wrapped || (wrapped < 0 && name === 'UDP')) return name === 'UDP' ? 'udp' : 'outer';
    return name === 'IPv4' || name === 'IPv6' ? 'inner' : 'transport';
  });
}

function drawLayers(drawing: Drawing, index: number, columns: number): Line[] {
  const layer = drawing.layers[index];
  if (layer === undefined) return [];
  const hue = drawing.hues[index]!;
  if (hue === 'payload') return [[span(`[ ${layer.name}: ${layer.title} ]`, hue)]];
  const own = [...hexLines(drawing, layer, columns - 4), ...fieldLines(layer.fields, columns - 4)];
  return box(layer, hue, own, drawLayers(drawing, index + 1, columns - 4), columns);
}

/** Boxes that end together share their last line. */
function box(layer: Layer, hue: Hue, own: readonly Line[], inner: readonly Line[], columns: number): Line[] {
  const size = ` ${layer.end - layer.start} bytes `;
  const title: Line = [span(' '), span(layer.name, 'strong'), span(`  ${layer.title} `)];
  const rule = '─'.repeat(Math.max(0, columns - 2 - width(title) - size.length));
  const side = (text: string): Span => span(text, hue);
  const isBox = inner.length > 1;
  const bottom: Line = isBox ? inner.at(-1)!.map(joined) : [side('─'.repeat(columns - 4))];
  return [
    [side('┌'), ...title, side(rule), span(size, 'quiet'), side('┐')],
    ...[...own, ...(isBox ? inner.slice(0, -1) : inner)].map((line) => [
      side('│ '),
      ...line,
      span(' '.repeat(columns - 4 - width(line))),
      side(' │'),
    ]),
    [side('└─'), ...bottom, side('─┘')],
  ];
}

const joined = ({ text, style }: Span): Span => span(text.replace(/[└┘]/, '┴'), style);

/** A header's bytes in pairs, with marks under those that changed. */
function hexLines({ bytes, changed }: Drawing, { start, end }: Layer, columns: number): Line[] {
  const perLine = columns >= 49 ? 20 : 4 * Math.floor((columns + 1) / 10);
  const lines: Line[] = [];
  for (let from = start; from < end; from += perLine) {
    const offsets = Array.from({ length: Math.min(perLine, end - from) }, (_, i) => from + i);
    const gap = (offset: number): string => (offset > from && (offset - start) % 2 === 0 ? ' ' : '');
    lines.push(
      merge(
        offsets.flatMap((offset): Span[] => {
          const text = bytes[offset]!.toString(16).padStart(2, '0');
          return [span(gap(offset)), span(text, changed(offset) ? 'changed' : 'plain')];
        }),
      ),
    );
    if (!offsets.some(changed)) continue;
    lines.push(
      merge(offsets.map((offset) => span(`${gap(offset)}${changed(offset) ? '^^' : '  '}`, 'strong'))),
    );
  }
  return lines;
}

/** Puts as many fields on a line as fit. */
function fieldLines(fields: readonly string[], columns: number): Line[] {
  const lines: string[] = [];
  for (const field of fields) {
    const longer = lines.length === 0 ? field : `${lines.at(-1)} · ${field}`;
    if (lines.length === 0 || longer.length > columns) lines.push(field);
    else lines[lines.length - 1] = longer;
  }
  return lines.map((line) => [span(line, 'quiet')]);
}

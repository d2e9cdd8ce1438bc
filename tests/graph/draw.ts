import { FLOORS, ROOMS, type Room } from './rooms.js';

const MARGIN = 20;
const BOX = { width: 190, height: 48 } as const;
/** From a box to the next one of its floor, and from one floor to the next. */
const GAP = { across: 36, down: 44 } as const;
const HEADING = 44;
const NOTE = 'Arrows that others imply are left out. Green: no I/O.';

/**
 * Draws the rooms and the arrows between them, as an SVG with its own background. It contains nothing that changes with
 * every commit.
 *
 * @param arrows `from to`
 */
export function drawRooms(arrows: Iterable<string>): string {
  const imports = new Map<string, Set<string>>(ROOMS.map(({ name }) => [name, new Set()]));
  for (const arrow of arrows) {
    const [from, to] = arrow.split(' ');
    imports.get(from!)!.add(to!);
  }
  const columns = Math.max(...ROOMS.map(({ column }) => column)) + 1;
  const width = 2 * MARGIN + columns * (BOX.width + GAP.across) - GAP.across;
  const height = HEADING + MARGIN + FLOORS.length * (BOX.height + GAP.down);
  const title = 'The rooms of src/ and what they import';
  const words = ROOMS.map(({ name }) => `${name}: ${drawn(name, imports).join(', ') || 'nothing'}.`);
  const lines = ROOMS.flatMap((room) =>
    drawn(room.name, imports).map((to) => drawArrow(room, roomNamed(to))),
  );
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img" aria-labelledby="title description" font-family="system-ui, 'Segoe UI', 'DejaVu Sans', sans-serif" font-size="12">
<title id="title">${title}</title>
<desc id="description">${words.join('\n')}</desc>
<style>
  .ground { fill: #ffffff; stroke: #d0d7de }
  text { fill: #1f2328 } .title { font-size: 16px; font-weight: 600 }
  .name { font-size: 14px; font-weight: 600; text-anchor: middle } .about { fill: #59636e; text-anchor: middle } .note { fill: #59636e }
  .room { fill: #f6f8fa; stroke: #8c959f } .pure { fill: #dafbe1; stroke: #1a7f37 }
  .arrow { fill: none; stroke: #59636e } .head { fill: #59636e }
  @media (prefers-color-scheme: dark) {
    .ground { fill: #0d1117; stroke: #3d444d }
    text { fill: #f0f6fc } .about, .note { fill: #9198a1 }
    .room { fill: #151b23; stroke: #656c76 } .pure { fill: #12261e; stroke: #3fb950 }
    .arrow { stroke: #9198a1 } .head { fill: #9198a1 }
  }
</style>
<defs><marker id="head" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" orient="auto"><path d="M0 0L8 4L0 8z" class="head"/></marker></defs>
<rect x="0.5" y="0.5" width="${width - 1}" height="${height - 1}" rx="6" class="ground"/>
<text x="${MARGIN}" y="30" class="title">${title}</text>
${lines.join('\n')}
${ROOMS.map(drawBox).join('\n')}
<text x="${MARGIN}" y="${height - MARGIN}" class="note">${NOTE}</text>
</svg>
`;
}

const roomNamed = (name: string): Room => ROOMS.find((room) => room.name === name)!;

/** The rooms that `from` imports and does not reach through another room. */
function drawn(from: string, imports: ReadonlyMap<string, ReadonlySet<string>>): string[] {
  const direct = imports.get(from)!;
  const reaches = (room: string, goal: string): boolean =>
    [...imports.get(room)!].some((next) => next === goal || reaches(next, goal));
  return [...direct].filter((to) => ![...direct].some((by) => reaches(by, to))).sort();
}

const middle = ({ column }: Room): number => MARGIN + column * (BOX.width + GAP.across) + BOX.width / 2;
function top(room: Room): number {
  const floor = FLOORS.findIndex((rooms) => rooms.includes(room));
  return HEADING + (FLOORS.length - 1 - floor) * (BOX.height + GAP.down);
}

const bottom = (room: Room): number => top(room) + BOX.height;

function drawBox(room: Room): string {
  const [x, y] = [middle(room), top(room)];
  return [
    `<rect x="${x - BOX.width / 2}" y="${y}" width="${BOX.width}" height="${BOX.height}" rx="6" class="${room.pure ? 'pure' : 'room'}"/>`,
    `<text x="${x}" y="${y + 20}" class="name">${room.name}</text>`,
    `<text x="${x}" y="${y + 37}" class="about">${room.about}</text>`,
  ].join('\n');
}

/** Draws an arrow down from one box to another, around the boxes between them. */
function drawArrow(from: Room, to: Room): string {
  const [x1, y1, x2, y2] = [middle(from), bottom(from), middle(to), top(to) - 2];
  const lane = [0, 0.46, -0.46]
    .map((shift) => x2 + shift * (BOX.width + GAP.across))
    .find((x) => isFree(x, y1, y2));
  const x = lane ?? x2;
  const bend = (fromX: number, y: number, toX: number): string =>
    `C${fromX} ${y + GAP.down / 2} ${toX} ${y + GAP.down / 2} ${toX} ${y + GAP.down - 2}`;
  const down = x === x2 ? `V${y2}` : `V${y2 + 2 - GAP.down}${bend(x, y2 + 2 - GAP.down, x2)}`;
  return `<path d="M${x1} ${y1}${bend(x1, y1, x)}${down}" class="arrow" marker-end="url(#head)"/>`;
}

const isFree = (x: number, y1: number, y2: number): boolean =>
  ROOMS.every((room) => top(room) < y1 || bottom(room) > y2 || Math.abs(middle(room) - x) > BOX.width / 2);

/** Draws `docs/rooms.svg` from the imports in `src/`, and prints the lines of each room: `npm run graph`. */
import { writeFileSync } from 'node:fs';
import { drawRooms } from './draw.js';
import { countArrows, readSources } from './imports.js';
import { ROOMS } from './rooms.js';

const sources = readSources();
const arrows = countArrows(sources);
writeFileSync('docs/rooms.svg', drawRooms(arrows.keys()));

const count = (room: string, isTest: boolean): number =>
  sources.reduce((sum, file) => sum + (file.room === room && file.isTest === isTest ? file.lines : 0), 0);
const whole = sources.reduce((sum, { isTest, lines }) => sum + (isTest ? 0 : lines), 0);
const row = (name: string, room: string): string => {
  const lines = count(room, false);
  const share = `${((100 * lines) / whole).toFixed(1)} %`;
  const to = ROOMS.flatMap((target) => {
    const imports = arrows.get(`${room} ${target.name}`);
    return imports === undefined ? [] : [`${target.name} ${imports}`];
  });
  return `${name.padEnd(10)}${`${lines}`.padStart(7)}${share.padStart(8)}${`${count(room, true)}`.padStart(7)}  ${to.join(', ')}`;
};
const lines = [
  `${'room'.padEnd(10)}${'lines'.padStart(7)}${'share'.padStart(8)}${'tests'.padStart(7)}  imports`,
  ...ROOMS.map(({ name }) => row(name, name)).reverse(),
  row('src/*.ts', ''),
  `${'all'.padEnd(10)}${`${whole}`.padStart(7)}`,
];
process.stdout.write(`${lines.join('\n')}\n`);

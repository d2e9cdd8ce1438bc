import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { chart } from './chart.js';
import { conditions, type Document } from './document.js';
import { markdown } from './figures.js';

const root = fileURLToPath(new URL('../../../', import.meta.url));
const CHART = `${root}docs/performance.svg`;
const README = `${root}README.md`;

/** What stands in README.md between these lines is written anew. */
const BEGIN = '<!-- figures: npm run bench -- --publish -->';
const END = '<!-- end of figures -->';

/** Writes the chart, and the figures of README.md. */
export function publish(document: Document): void {
  const readme = readFileSync(README, 'utf8');
  const [before, after] = [readme.indexOf(BEGIN), readme.indexOf(END)];
  if (before < 0 || after < before)
    throw new Error(`README.md lacks the line "${BEGIN}", or "${END}" behind it`);
  const [where] = conditions(document);
  writeFileSync(CHART, chart(document.sections, conditions(document)));
  writeFileSync(
    README,
    `${readme.slice(0, before + BEGIN.length)}\n${where}\n\n${markdown(document.sections)}\n${readme.slice(after)}`,
  );
}

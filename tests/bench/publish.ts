import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { chart } from './chart.js';
import { conditions, type Document } from './document.js';
import { markdown } from './figures.js';

const root = fileURLToPath(new URL('../../../', import.meta.url));
const CHART = `${root}docs/performance.svg`;
const PAGE = `${root}docs/PERFORMANCE.md`;

/** `publish` replaces the text between these lines of docs/PERFORMANCE.md. */
const BEGIN = '<!-- figures: npm run bench -- --publish -->';
const END = '<!-- end of figures -->';

/** Writes docs/performance.svg and the figures of docs/PERFORMANCE.md. */
export function publish(document: Document): void {
  const page = readFileSync(PAGE, 'utf8');
  const [before, after] = [page.indexOf(BEGIN), page.indexOf(END)];
  if (before < 0 || after < before)
    throw new Error(`docs/PERFORMANCE.md lacks the line "${BEGIN}", or "${END}" after it`);
  const [where] = conditions(document);
  writeFileSync(CHART, chart(document.sections, conditions(document)));
  writeFileSync(
    PAGE,
    `${page.slice(0, before + BEGIN.length)}\n${where}\n\n${markdown(document.sections)}\n${page.slice(after)}`,
  );
}

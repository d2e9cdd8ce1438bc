/** Updates the samples in README.md and docs/ with the code that prints them: `npm run samples`. */
import { readFileSync, writeFileSync } from 'node:fs';
import { fillIn } from '../wire/blocks.js';
import { SAMPLES } from './samples.js';

for (const [file, blocks] of Object.entries(SAMPLES))
  writeFileSync(file, fillIn(readFileSync(file, 'utf8'), blocks(), 'sample'));

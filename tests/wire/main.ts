/**
 * Updates the bytes in docs/WIRE.md with the product's code: `npm run wire`.
 *
 * With a file name, `npm run wire -- wire.pcapng`, it also writes the datagrams as a capture, and the keys that Wireshark
 * needs to read them as `wire.pcapng.keys`.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { fillIn, makeBlocks } from './blocks.js';
import { capture, keyLog } from './capture.js';
import { play } from './scene.js';

const DOCUMENT = 'docs/WIRE.md';

const scene = play();
writeFileSync(DOCUMENT, fillIn(readFileSync(DOCUMENT, 'utf8'), makeBlocks(scene)));
const file = process.argv[2];
if (file !== undefined) {
  writeFileSync(file, capture(scene));
  writeFileSync(`${file}.keys`, keyLog());
}

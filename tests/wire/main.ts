/**
 * Writes the bytes of docs/WIRE.md anew, from the product's own code: `npm run wire`.
 *
 * With a file's name, `npm run wire -- wire.pcapng`, it also writes the datagrams as a capture, and beside it the keys
 * that Wireshark needs to read them, as `wire.pcapng.keys`.
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

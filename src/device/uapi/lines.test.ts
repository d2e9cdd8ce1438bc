import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { LineSplitter, MAX_LINE } from './lines.js';

/** The lines of all chunks, as copies. */
function split(splitter: LineSplitter, chunks: readonly Buffer[]): string[] {
  const copies: string[] = [];
  for (const chunk of chunks) for (const line of splitter.lines(chunk)) copies.push(line.toString('latin1'));
  return copies;
}

test('the lines do not depend on how the text is split into chunks', () => {
  fc.assert(
    fc.property(fc.array(fc.string({ maxLength: 40 })), fc.array(fc.nat(30)), (lines, sizes) => {
      const text = Buffer.from(lines.map((line) => `${line.replaceAll('\n', '')}\n`).join(''), 'latin1');
      const chunks: Buffer[] = [];
      let at = 0;
      for (const size of sizes) {
        chunks.push(Buffer.from(text.subarray(at, at + size)));
        at += size;
      }
      chunks.push(Buffer.from(text.subarray(at)));
      const copies = split(new LineSplitter(), chunks);
      assert.deepEqual(copies, text.toString('latin1').split('\n').slice(0, -1));
    }),
  );
});

test('a line may have up to 64 KiB, in any number of chunks', () => {
  const full = Buffer.alloc(MAX_LINE, 'x');
  assert.deepEqual(split(new LineSplitter(), [full, Buffer.from('\n')]), [full.toString()]);
  assert.deepEqual(split(new LineSplitter(), [full, Buffer.from('x')]), ['too-long']);
  assert.deepEqual(split(new LineSplitter(), [full, Buffer.from('x\n')]), ['too-long']);
});

test('the buffered part of a line is erased after use', () => {
  const splitter = new LineSplitter();
  split(splitter, [Buffer.from('private_key=5ec')]);
  const lines = splitter.lines(Buffer.from('2e7\nnext\n'));
  const first = lines.next().value as Buffer;
  assert.equal(first.toString(), 'private_key=5ec2e7');
  lines.next();
  assert.ok(first.every((byte) => byte === 0));
});

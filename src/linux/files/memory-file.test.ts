import assert from 'node:assert/strict';
import { closeSync, fstatSync, readFileSync, writeSync } from 'node:fs';
import { type TestContext, test } from 'node:test';
import fc from 'fast-check';
import { MemoryFile } from './memory-file.js';

function memoryFile(t: TestContext): MemoryFile {
  const file = MemoryFile.open('test');
  t.after(() => closeSync(file.fd));
  return file;
}
const all = ({ fd }: MemoryFile): Buffer => readFileSync(`/proc/self/fd/${fd}`);

test('a new file has no content, and then the last one', (t) => {
  const file = memoryFile(t);
  assert.equal(file.read(), undefined);
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 300 }), { minLength: 1 }), (contents) => {
      for (const content of contents) {
        file.write(content);
        assert.deepEqual(MemoryFile.open('test', file.fd).read(), Buffer.from(content));
      }
    }),
  );
});

test('the file does not grow, and old content is erased', (t) => {
  const file = memoryFile(t);
  for (let i = 0; i < 100; i++) {
    file.write(Buffer.from(`secret ${i % 10} `.repeat(100)));
    assert.equal(all(file).includes(`secret ${(i + 9) % 10} `), false);
    assert.ok(fstatSync(file.fd).size < 3 * 900, `${fstatSync(file.fd).size}`);
  }
  assert.ok(all(file).includes('secret 9 '), 'control');
});

test('a write that was cut off leaves the old content', (t) => {
  const file = memoryFile(t);
  file.write(Buffer.from('first'));
  const before = all(file);
  file.write(Buffer.from('the second'));
  const after = all(file);
  // The new content comes first, byte by byte, then the header. The old content is erased last.
  const torn = memoryFile(t);
  writeSync(torn.fd, before, 0, before.length, 0);
  for (let at = before.length; at < after.length; at++) {
    assert.equal(torn.read()?.toString(), 'first', `${at}`);
    writeSync(torn.fd, after, at, 1, at);
  }
  assert.equal(torn.read()?.toString(), 'first');
  for (let at = 0; at < 39; at++) {
    writeSync(torn.fd, after, at, 1, at);
    assert.notEqual(torn.read()?.toString(), 'the second', `half a header, ${at}`);
  }
  writeSync(torn.fd, after, 39, 1, 39);
  assert.equal(torn.read()?.toString(), 'the second');
});

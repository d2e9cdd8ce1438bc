import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync, readSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { needs } from '../kit/requirements.js';

const CHUNK = 4 << 20;

/** Which byte strings are in the writable memory of a process. */
function findInMemory(pid: number, needles: readonly Buffer[]): Buffer[] {
  const found = new Set<Buffer>();
  const memory = openSync(`/proc/${pid}/mem`, 'r');
  const chunk = Buffer.alloc(CHUNK + 32);
  for (const line of readFileSync(`/proc/${pid}/maps`, 'utf8').split('\n')) {
    const [, from, to] = /^([0-9a-f]+)-([0-9a-f]+) rw/.exec(line) ?? [];
    if (from === undefined) continue;
    const end = Number.parseInt(to!, 16);
    for (let at = Number.parseInt(from, 16); at < end; at += CHUNK) {
      let length = 0;
      try {
        length = readSync(memory, chunk, 0, Math.min(chunk.length, end - at), at);
      } catch {
        continue; // reserved but never used
      }
      const read = chunk.subarray(0, length);
      for (const needle of needles) if (read.includes(needle)) found.add(needle);
    }
  }
  closeSync(memory);
  return [...found];
}

test('handshake secrets are in memory only while sessions live', async (t) => {
  if (!needs(t, 'root')) return;
  const script = fileURLToPath(new URL('./handshake.js', import.meta.url));
  const child = spawn(process.execPath, ['--expose-gc', script], { stdio: ['pipe', 'pipe', 'inherit'] });
  t.after(() => child.kill('SIGKILL'));
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const said = async (): Promise<Buffer[]> => {
    const { value } = await lines.next();
    assert.ok(value, 'the handshakes failed');
    return (JSON.parse(value) as string[]).map(
      (hex) => Buffer.from(hex, 'hex').map((byte) => byte ^ 0xff) as Buffer,
    );
  };
  const living = await said();
  assert.ok(living.length > 50);
  const sessionKeys = living.slice(-2); // the initiator's `split` comes last
  assert.deepEqual(findInMemory(child.pid!, sessionKeys).length, 2, 'control: keys in use are found');

  child.stdin.write('\n');
  const all = await said();
  assert.deepEqual(
    findInMemory(child.pid!, all).map((secret) => all.indexOf(secret)),
    [],
  );
});

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { closeSync, lstatSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { LametunError } from '../../errors.js';
import { holdOpenFile } from '../../linux/files/file-lock.js';
import type { PingAnswer } from './control.js';
import type { ControlHandler } from './control-connection.js';
import { askControl, controlPath, serveControl } from './control-socket.js';

function directory(t: TestContext): string {
  const path = mkdtempSync(join(tmpdir(), 'lametun-'));
  t.after(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

async function serving(t: TestContext, handle: ControlHandler): Promise<string> {
  const state = directory(t);
  const server = await serveControl(state, handle);
  t.after(() => server.close());
  return state;
}

const pong = (sequence: number): PingAnswer => ({
  node: 'office',
  address: '10.1.0.1',
  sequence,
  rttMs: 2,
  path: { kind: 'relayed', why: 'no answer', since: 1 },
});

test('answers come one by one, in their order, and then it is done', async (t) => {
  const state = await serving(t, async (request, answer) => {
    assert.deepEqual(request, { command: 'ping', node: 'office', count: 2 });
    answer(pong(1));
    answer(pong(2));
  });
  const got: number[] = [];
  await askControl(state, { command: 'ping', node: 'office', count: 2 }, ({ sequence }) =>
    got.push(sequence),
  );
  assert.deepEqual(got, [1, 2]);
});

test('what fails says the same on the other side', async (t) => {
  const state = await serving(t, async () => {
    throw new LametunError('usage', 'there is no node attic: `lametun status` lists them');
  });
  await assert.rejects(
    askControl(state, { command: 'ping', node: 'attic' }, () => {}),
    (error) => error instanceof LametunError && error.code === 'usage' && /no node attic/.test(error.message),
  );
});

test('only the owner may open the socket', async (t) => {
  const state = await serving(t, async () => {});
  assert.equal(lstatSync(controlPath(state)).mode & 0o777, 0o600);
});

test('where nobody answers the error says what to start', async (t) => {
  const state = directory(t);
  const ask = () => askControl(state, { command: 'status' }, () => {});
  await assert.rejects(ask, { code: 'unreachable', message: /`lametun serve --state .*` or|lametun join/ });
  writeFileSync(join(state, 'node.json'), '{}');
  await assert.rejects(ask, { code: 'unreachable', message: /lametun up --state/ });
});

test('a handler hears when whoever asked has gone', async (t) => {
  let tell!: () => void;
  const gone = new Promise<void>((resolve) => {
    tell = resolve;
  });
  const state = await serving(t, async (_request, answer, signal) => {
    answer({});
    if (!signal.aborted) await once(signal, 'abort');
    tell();
  });
  const stop = new AbortController();
  await askControl(state, { command: 'watch' }, () => stop.abort(), { signal: stop.signal });
  await gone;
});

test('what is no request is answered with an error, and does no harm', async (t) => {
  const state = await serving(t, async () => assert.fail('it was taken for a request'));
  for (const bytes of ['no JSON\n', 'null\n', '{"command":"fly"}\n', 'x'.repeat(70_000)]) {
    const socket = connect(controlPath(state)).setEncoding('utf8');
    let answer = '';
    socket.on('data', (text: string) => {
      answer += text;
    });
    socket.on('error', () => {}); // it need not have read all of it
    socket.write(bytes);
    await once(socket, 'close');
    assert.equal(JSON.parse(answer).error.code, 'protocol', bytes.slice(0, 20));
  }
});

test('a process that ends before it has answered is told of', async (t) => {
  const state = directory(t);
  const server = await serveControl(state, async (_request, answer, signal) => {
    answer({});
    if (!signal.aborted) await once(signal, 'abort');
  });
  const asking = askControl(state, { command: 'watch' }, () => void server.close());
  await assert.rejects(asking, { code: 'unreachable', message: /has ended/ });
});

test('what is being done when the process ends is still answered', async (t) => {
  const state = directory(t);
  const server = await serveControl(state, async (_request, answer) => {
    void server.close();
    await new Promise((resolve) => setTimeout(resolve, 50));
    answer({ told: true });
  });
  let told = false;
  await askControl(state, { command: 'leave' }, (answer) => {
    told = answer.told;
  });
  assert.ok(told);
});

test('a socket that a killed process left is replaced', async (t) => {
  const state = directory(t);
  writeFileSync(controlPath(state), '');
  const server = await serveControl(state, async () => {});
  await askControl(state, { command: 'status' }, () => {});
  await server.close();
});

/** A process of another version: it answers every request with these lines. */
async function answering(t: TestContext, ...lines: readonly object[]): Promise<string> {
  const state = directory(t);
  const server = createServer((socket) => {
    socket.once('data', () => socket.end(lines.map((line) => `${JSON.stringify(line)}\n`).join('')));
  });
  t.after(() => server.close());
  server.listen(controlPath(state));
  await once(server, 'listening');
  return state;
}

const status = (state: string, onAnswer: () => void = () => {}): Promise<void> =>
  askControl(state, { command: 'status' }, onAnswer, { program: 'lametun 2.0.0' });
const badly = { error: { code: 'protocol', message: 'Invalid type: Expected "invite"' } };
const SAYS = /^the running lametun is (.*), this command is 2\.0\.0: restart it \(`lametun up`/;
const differs =
  (running: string) =>
  (error: unknown): boolean =>
    error instanceof LametunError && error.code === 'protocol' && SAYS.exec(error.message)?.[1] === running;

test('an older process that does not know what is asked is told of by its version', async (t) => {
  const old = { lametun: { program: 'lametun 1.0.0', protocol: 1 } };
  await assert.rejects(status(await answering(t, { ...old, ...badly })), differs('1.0.0'));
  await assert.rejects(status(await answering(t, badly)), differs('another version'));
});

test('so is one whose answer is not what it was to be', async (t) => {
  const old = { lametun: { program: 'lametun 1.0.0', protocol: 1 } };
  const fails = (): never => {
    throw new TypeError('cannot read properties of undefined');
  };
  await assert.rejects(
    status(await answering(t, { ...old, value: {} }, { done: true }), fails),
    differs('1.0.0'),
  );
});

test('what an older process does know is answered as ever, and so are its other errors', async (t) => {
  let got = 0;
  await status(await answering(t, { value: {} }, { done: true }), () => got++);
  assert.equal(got, 1);
  const no = await answering(t, { error: { code: 'usage', message: 'no node attic' } });
  await assert.rejects(status(no), { code: 'usage', message: 'no node attic' });
});

test('a newer process with another protocol is not understood, whatever it answers', async (t) => {
  const newer = { lametun: { program: 'lametun 3.0.0', protocol: 2 } };
  const never = (): never => assert.fail('it was taken for an answer');
  await assert.rejects(status(await answering(t, { ...newer, value: {} }), never), differs('3.0.0'));
});

test('what a command with another protocol asks is not done', async (t) => {
  const state = directory(t);
  const server = await serveControl(state, async () => assert.fail('it was done'), 'lametun 1.0.0');
  t.after(() => server.close());
  const socket = connect(controlPath(state)).setEncoding('utf8');
  socket.write('{"command":"leave","lametun":{"program":"lametun 3.0.0","protocol":2}}\n');
  const [line] = (await once(socket, 'data')) as [string];
  const { lametun, error } = JSON.parse(line);
  assert.deepEqual(lametun, { program: 'lametun 1.0.0', protocol: 1 });
  assert.match(error.message, /^the running lametun is 1\.0\.0, this command is 3\.0\.0: /);
});

test('an error of the same version is passed on in its own words', async (t) => {
  const same = { lametun: { program: 'lametun 2.0.0', protocol: 1 } };
  await assert.rejects(status(await answering(t, { ...same, ...badly })), { message: badly.error.message });
});

test('a process that has the directory and no socket yet is starting, or stopping', async (t) => {
  const state = directory(t);
  const lock = openSync(join(state, 'lock'), 'w');
  t.after(() => closeSync(lock));
  const ask = () => askControl(state, { command: 'status' }, () => {});
  await assert.rejects(ask(), /no lametun runs on /);
  assert.ok(holdOpenFile(lock));
  await assert.rejects(
    ask(),
    (error) => error instanceof LametunError && /starting or stopping on .*: try again$/.test(error.message),
  );
});

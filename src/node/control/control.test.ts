import assert from 'node:assert/strict';
import { once } from 'node:events';
import {
  closeSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { LametunError } from '../../errors.js';
import { holdOpenFile } from '../../linux/files/file-lock.js';
import { parse } from '../../protocol/parse.js';
import { controlRequest, type PingAnswer } from './control.js';
import { askControl } from './control-client.js';
import type { ControlHandler } from './control-connection.js';
import { serveControl } from './control-server.js';
import { controlPath } from './operators.js';

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

test('answers arrive one by one, in order', async (t) => {
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

test('an error reaches the other end with its code and message', async (t) => {
  const state = await serving(t, async () => {
    throw new LametunError('usage', 'no node attic: `lametun status` lists them');
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

test('without a running process, the error says what to start', async (t) => {
  const state = directory(t);
  const ask = () => askControl(state, { command: 'status' }, () => {});
  await assert.rejects(ask, { code: 'unreachable', message: /`lametun serve --state .*` or|lametun join/ });
  writeFileSync(join(state, 'node.json'), '{}');
  await assert.rejects(ask, { code: 'unreachable', message: /lametun up --state/ });
});

test('a handler notices when the other end is gone', async (t) => {
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

test('an invalid request is answered with an error, and does no harm', async (t) => {
  const state = await serving(t, async () => assert.fail('it was accepted as a request'));
  for (const bytes of ['not JSON\n', 'null\n', '{"command":"fly"}\n', 'x'.repeat(70_000)]) {
    const socket = connect(controlPath(state)).setEncoding('utf8');
    let answer = '';
    socket.on('data', (text: string) => {
      answer += text;
    });
    socket.on('error', () => {}); // the server may close before it has read everything
    socket.write(bytes);
    await once(socket, 'close');
    assert.equal(JSON.parse(answer).error.code, 'protocol', bytes.slice(0, 20));
  }
});

test('the error of an invalid request names the field', () => {
  for (const [request, message] of [
    [{ command: 'ping' }, 'node is missing'],
    [{ command: 'ping', node: 5 }, 'node must be text'],
    [{ command: 'admin' }, 'request is missing'],
    [{ command: 'readdress', hubKey: 'k', addresses: [] }, 'addresses must not be empty'],
    [{ command: 'fly' }, /^command must be \("status" \| /],
  ] as const)
    assert.throws(() => parse(controlRequest, request), { code: 'protocol', message });
});

test('a process that ends before it answers is reported', async (t) => {
  const state = directory(t);
  const server = await serveControl(state, async (_request, answer, signal) => {
    answer({});
    if (!signal.aborted) await once(signal, 'abort');
  });
  const asking = askControl(state, { command: 'watch' }, () => void server.close());
  await assert.rejects(asking, { code: 'unreachable', message: /has stopped/ });
});

test('a request in progress is still answered when the process ends', async (t) => {
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

test('a directory in the place of the socket is named, and left alone', async (t) => {
  const state = directory(t);
  const path = join(state, 'control.sock');
  mkdirSync(path); // as container engines make it for a volume whose source is missing
  await assert.rejects(
    serveControl(state, async () => {}),
    {
      code: 'state',
      message: `${path} is a directory: remove it`,
    },
  );
  assert.ok(existsSync(path));
});

test('the socket of a killed process is replaced', async (t) => {
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
const SAYS =
  /^the running lametun is (.*), this command is 2\.0\.0: restart it with the newer version \(`lametun down`/;
const differs =
  (running: string) =>
  (error: unknown): boolean =>
    error instanceof LametunError && error.code === 'protocol' && SAYS.exec(error.message)?.[1] === running;

test('an older process that does not know a request is reported with its version', async (t) => {
  const old = { lametun: { program: 'lametun 1.0.0', protocol: 1 } };
  await assert.rejects(status(await answering(t, { ...old, ...badly })), differs('1.0.0'));
  await assert.rejects(status(await answering(t, badly)), differs('another version'));
});

test('an older process with an unexpected answer is reported with its version', async (t) => {
  const old = { lametun: { program: 'lametun 1.0.0', protocol: 1 } };
  const fails = (): never => {
    throw new TypeError('cannot read properties of undefined');
  };
  await assert.rejects(
    status(await answering(t, { ...old, value: {} }, { done: true }), fails),
    differs('1.0.0'),
  );
});

test('known requests to an older process work, and its other errors are passed on', async (t) => {
  let got = 0;
  await status(await answering(t, { value: {} }, { done: true }), () => got++);
  assert.equal(got, 1);
  const no = await answering(t, { error: { code: 'usage', message: 'no node attic' } });
  await assert.rejects(status(no), { code: 'usage', message: 'no node attic' });
});

test('a newer process with another protocol is refused, whatever it answers', async (t) => {
  const newer = { lametun: { program: 'lametun 3.0.0', protocol: 2 } };
  const never = (): never => assert.fail('it was accepted as an answer');
  await assert.rejects(status(await answering(t, { ...newer, value: {} }), never), differs('3.0.0'));
});

test('a request with another protocol is refused', async (t) => {
  const state = directory(t);
  const server = await serveControl(state, async () => assert.fail('it was carried out'), 'lametun 1.0.0');
  t.after(() => server.close());
  const socket = connect(controlPath(state)).setEncoding('utf8');
  socket.write('{"command":"leave","lametun":{"program":"lametun 3.0.0","protocol":2}}\n');
  const [line] = (await once(socket, 'data')) as [string];
  const { lametun, error } = JSON.parse(line);
  assert.deepEqual(lametun, { program: 'lametun 1.0.0', protocol: 1 });
  assert.match(error.message, /^the running lametun is 1\.0\.0, this command is 3\.0\.0: /);
});

test('an error from the same version is passed on unchanged', async (t) => {
  const same = { lametun: { program: 'lametun 2.0.0', protocol: 1 } };
  await assert.rejects(status(await answering(t, { ...same, ...badly })), { message: badly.error.message });
});

test('a process that holds the directory without a socket is starting or stopping', async (t) => {
  const state = directory(t);
  const lock = openSync(join(state, 'lock'), 'w');
  t.after(() => closeSync(lock));
  const ask = () => askControl(state, { command: 'status' }, () => {});
  await assert.rejects(ask(), /no lametun is running on /);
  assert.ok(holdOpenFile(lock));
  await assert.rejects(
    ask(),
    (error) => error instanceof LametunError && /starting or stopping on .*: try again$/.test(error.message),
  );
});

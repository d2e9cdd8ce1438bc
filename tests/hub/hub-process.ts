/**
 * A hub in its own process, to be killed: `hub-process.js STATE [DATABASE [PORT]]`. It prints one line of JSON when it is
 * ready, and one for each administrator's request that it reads.
 */
import { createInterface } from 'node:readline';
import { startHub } from '../../src/hub/start.js';
import { TextLog } from '../../src/log.js';
import type { AdminRequest } from '../../src/protocol/messages.js';

/** A test's crowd connects from one address, all at once. */
const ENOUGH = { rate: 10_000, burst: 10_000 };

const [state, database, port] = process.argv.slice(2);
const hub = await startHub({
  state: state!,
  port: Number(port ?? 0),
  public: ['127.0.0.1'],
  database: database || undefined,
  guests: { each: ENOUGH, all: ENOUGH },
  log: new TextLog(1, 'hub', (line) => void process.stderr.write(line)),
});
const say = (value: object): void => void process.stdout.write(`${JSON.stringify(value)}\n`);
say({ port: hub.port, publicKey: Buffer.from(hub.publicKey).toString('base64'), network: hub.network });
for await (const line of createInterface({ input: process.stdin })) {
  say(await hub.administer(JSON.parse(line) as AdminRequest));
}
await hub.close();

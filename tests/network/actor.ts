/*
 * A hub or a node in a process of its own, for tests: what it is to be comes as JSON in the first argument, what it has
 * to say goes to stdout as JSON lines. It ends with its stdin, by which a hub is told what to do, as JSON lines, too.
 */
import { createInterface } from 'node:readline';
import { startHub } from '../../src/hub/start.js';
import { LOG_LEVEL, TextLog } from '../../src/log.js';
import { serveControl } from '../../src/node/control/control-socket.js';
import { nodeControl } from '../../src/node/control/node-control.js';
import { startNode } from '../../src/node/shell/node.js';
import { StateDirectory } from '../../src/node/shell/state.js';
import { parseToken } from '../../src/protocol/token.js';

export type Role =
  | {
      readonly role: 'hub';
      readonly state: string;
      readonly port: number;
      readonly public: string;
      readonly range?: string;
      readonly ask?: boolean;
    }
  | {
      readonly role: 'node';
      readonly state: string;
      readonly join?: {
        readonly token: string;
        readonly name: string;
        readonly device: string;
        readonly shares?: readonly string[];
      };
    };

const role = JSON.parse(process.argv[2]!) as Role;
const say = (value: object): void => void process.stdout.write(`${JSON.stringify(value)}\n`);
const log = new TextLog(LOG_LEVEL.verbose, role.state, (line) => process.stderr.write(line));
const orders = createInterface(process.stdin);
const ended = new Promise<void>((resolve) => orders.once('close', resolve));

async function hub({
  state,
  port,
  public: address,
  ask,
  range,
}: Extract<Role, { role: 'hub' }>): Promise<void> {
  const directory = StateDirectory.open(state);
  const running = await startHub({ state, port, public: [address], network: 'home', log, ask, range });
  const invite = {
    op: 'invite',
    expires: 3_600,
    reusable: true,
    admin: true,
    shares: ['192.168.50.0/24'],
  } as const;
  say({ up: true, ...(await running.administer(invite)) });
  orders.on('line', (line) => void running.administer(JSON.parse(line)).then((answer) => say({ answer })));
  await ended;
  await running.close();
  directory.close();
}

async function node({ state, join }: Extract<Role, { role: 'node' }>): Promise<void> {
  const directory = StateDirectory.open(state);
  const started = performance.now();
  const running = await startNode({
    ...{ state: directory, log, program: 'lametun test', names: false },
    ...(join && { join: { ...join, token: parseToken(join.token), shares: join.shares ?? [] } }),
  });
  const control = await serveControl(state, nodeControl(running));
  say({ up: true, ms: Math.round(performance.now() - started), ...running.status().self });
  void ended.then(() => running.close());
  const end = await running.ended;
  say({ ended: end });
  await control.close();
  directory.close();
}

try {
  if (role.role === 'hub') await hub(role);
  else await node(role);
  process.exit(0);
} catch (error) {
  const { code, message } = error as { code?: string; message: string };
  say({ failed: { code, message } });
  process.exit(1);
}

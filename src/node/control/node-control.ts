import { setTimeout as sleep } from 'node:timers/promises';
import { LametunError } from '../../errors.js';
import { isHubAddresses, parseAdminRequest } from '../../protocol/parse.js';
import type { ControlRequest } from './control.js';
import type { ControlHandler } from './control-connection.js';
import type { RunningNode } from './running-node.js';

/** Milliseconds: nobody reads faster, and nobody pings slower. */
const FASTEST = 100;
const SLOWEST = 3_600_000;
const INTERVAL = 1_000;

/** Does what is asked of a node over its control socket. */
export function nodeControl(node: RunningNode): ControlHandler {
  return async (request, answer, signal) => {
    switch (request.command) {
      case 'status':
        answer(node.status());
        break;
      case 'watch':
        for (; !signal.aborted; await pause(request.interval, signal)) answer(node.status());
        break;
      case 'ping':
        await ping(node, request, answer, signal);
        break;
      case 'leave':
        answer(await node.leave(request.force === true));
        break;
      case 'share':
        answer({ shares: await node.share(texts(request.shares)) });
        break;
      case 'trust':
        if (typeof request.node !== 'string') throw new LametunError('protocol', "a key is a node's");
        answer(node.trust(request.node));
        break;
      case 'readdress': {
        const { hubKey, addresses } = request;
        if (typeof hubKey !== 'string' || !isHubAddresses(addresses))
          throw new LametunError('protocol', 'a hub has a key and addresses');
        node.readdress(hubKey, addresses);
        const { network, self } = node.status();
        answer({ network: network.name, name: self.name });
        break;
      }
      case 'admin':
        answer(await node.admin(parseAdminRequest(request.request)));
        break;
    }
  };
}

async function ping(
  node: RunningNode,
  { node: name, count = Infinity, interval }: Extract<ControlRequest, { command: 'ping' }>,
  answer: (value: object) => void,
  signal: AbortSignal,
): Promise<void> {
  if (typeof name !== 'string' || typeof count !== 'number')
    throw new LametunError('protocol', 'a ping names a node');
  for (let sequence = 1; sequence <= count && !signal.aborted; sequence++) {
    const started = performance.now();
    const result = await unlessAborted(node.ping(name, sequence), signal);
    if (result === undefined) return;
    answer(result);
    if (sequence < count) await pause(interval, signal, performance.now() - started);
  }
}

/** What it comes to; undefined when nobody waits for it any more. Leaves no listener behind: some ping for days. */
function unlessAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T | undefined> {
  return new Promise((resolve, reject) => {
    const stop = (): void => resolve(undefined);
    signal.addEventListener('abort', stop, { once: true });
    if (signal.aborted) stop();
    void work.then(resolve, reject).finally(() => signal.removeEventListener('abort', stop));
  });
}

/** @param spent of the time, milliseconds */
async function pause(interval = INTERVAL, signal: AbortSignal, spent = 0): Promise<void> {
  const whole = Math.min(SLOWEST, Math.max(FASTEST, Number(interval) || INTERVAL));
  await sleep(Math.max(0, whole - spent), undefined, { signal }).catch(() => {});
}

function texts(shares: unknown): readonly string[] | undefined {
  if (shares === undefined) return undefined;
  if (Array.isArray(shares) && shares.every((share) => typeof share === 'string')) return shares;
  throw new LametunError('protocol', 'shares are a list of networks');
}

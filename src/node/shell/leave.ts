import { NodeCrypto } from '../../crypto/node-crypto.js';
import { LametunError } from '../../errors.js';
import { NetworkMap } from '../../protocol/map.js';
import type { LeaveAnswer } from '../control/control.js';
import { HubFailure } from '../machine/hub/hub-failure.js';
import { searched } from '../machine/hub-addresses.js';
import type { StoredNode } from '../machine/stored.js';
import { HubDriver } from './hub-driver.js';
import type { StateDirectory } from './state.js';

export interface LeaveOptions {
  /** Locked by the caller: no node runs on it. */
  readonly state: StateDirectory;
  readonly node: StoredNode;
  /** `lametun 0.1.0` */
  readonly program: string;
  /** Forgets the network even if the hub cannot be told. */
  readonly force: boolean;
}

/** How long to look for the hub, milliseconds. */
const PATIENCE = 15_000;

/**
 * Ends the membership of a node that is not running: connects to the hub to tell it, and forgets the network.
 *
 * @throws LametunError when the hub cannot be told, unless `force`; then nothing was changed
 */
export async function leaveStopped(options: LeaveOptions): Promise<LeaveAnswer> {
  const { state, force } = options;
  if (!(await tellHub(connectAndLeave(options), force)))
    return { told: false, kept: state.setNodeAside('left') };
  state.forgetNode();
  return { told: true };
}

/**
 * @param telling sends `leave` to the hub
 * @returns whether the hub knows that this machine is no longer a member
 * @throws LametunError `unreachable` when it does not, unless `force`
 */
export async function tellHub(telling: Promise<unknown>, force: boolean): Promise<boolean> {
  try {
    await telling;
    return true;
  } catch (error) {
    if (error instanceof HubFailure && (error.kind === 'removed' || error.refusal === 'not-a-member'))
      return true;
    if (force) return false;
    throw new LametunError(
      'unreachable',
      `cannot tell the hub (${(error as Error).message}): try again when it is reachable, or leave with --force`,
      { cause: error },
    );
  }
}

async function connectAndLeave({ state, node, program }: LeaveOptions): Promise<void> {
  const { hub, network } = node;
  const crypto = new NodeCrypto();
  const bytes = state.privateKey(undefined);
  const privateKey = crypto.privateKey(bytes);
  bytes.fill(0);
  const driver = new HubDriver({
    ...{ crypto, privateKey, program, map: new NetworkMap(), member: { network: network.id } },
    ...{ hubKey: new Uint8Array(Buffer.from(hub.key, 'base64')), addresses: searched(hub) },
  });
  let timer: NodeJS.Timeout | undefined;
  try {
    await new Promise<void>((resolve, reject) => {
      timer = setTimeout(() => reject(new Error('it does not answer')), PATIENCE);
      driver.onEvent = (event) => {
        if (event.kind === 'connected') resolve();
        else if (event.kind === 'disconnected') reject(event.failure);
      };
      driver.start();
    });
    await driver.request({ type: 'leave' });
  } finally {
    clearTimeout(timer);
    driver.close();
    privateKey.destroy();
  }
}

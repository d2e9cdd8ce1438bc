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
  /** Forgets the network also when the hub cannot be told. */
  readonly force: boolean;
  /** How long the hub is looked for, milliseconds; 15 seconds if not given. */
  readonly patience?: number | undefined;
}

const PATIENCE = 15_000;

/**
 * Ends the membership of a node that does not run: tells the hub, over a connection for just that, and forgets the network.
 *
 * @throws LametunError when the hub cannot be told, unless `force`; nothing is changed then
 */
export async function leaveStopped({
  state,
  node,
  program,
  force,
  patience,
}: LeaveOptions): Promise<LeaveAnswer> {
  try {
    await tell(state, node, program, patience ?? PATIENCE);
  } catch (error) {
    if (!isOver(error)) {
      if (force) return { told: false, kept: state.setNodeAside('left') };
      throw new LametunError(
        'unreachable',
        `the hub cannot be told (${(error as Error).message}): try again when it is there, or leave with --force`,
        { cause: error },
      );
    }
  }
  state.forgetNode();
  return { told: true };
}

/** The hub says that this is no member. */
const isOver = (error: unknown): boolean =>
  error instanceof HubFailure && (error.kind === 'removed' || error.refusal === 'not-a-member');

async function tell(
  state: StateDirectory,
  { hub, network }: StoredNode,
  program: string,
  patience: number,
): Promise<void> {
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
      timer = setTimeout(() => reject(new Error('it does not answer')), patience);
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

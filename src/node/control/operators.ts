import { createHash } from 'node:crypto';
import { join } from 'node:path';
import type { PeerCredentials } from '../../linux/net/unix-socket.js';
import type { ControlRequest } from './control.js';

/*
 * Root can let a local group ask a node or a hub about its state. Only root can enter state directories, so that group
 * has a socket of its own. Everyone can connect to it; the kernel's credentials decide who may ask what. No I/O.
 */

/** Root's socket of a state directory. */
export const controlPath = (state: string): string => join(state, 'control.sock');

/** Everyone may enter, and only root can write there. */
export const OPERATORS_DIRECTORY = '/run/lametun-operators';

/** The operators' socket of a state directory. */
export const operatorsPath = (state: string): string =>
  `${OPERATORS_DIRECTORY}/${createHash('sha256').update(state).digest('hex').slice(0, 32)}.sock`;

export interface Rights {
  /** The user who runs the process, usually root. */
  readonly owner: number;
  /** The group of the operators. */
  readonly group: number;
}

export type Standing = 'owner' | 'operator' | 'stranger';

export function standingOf({ uid, groups }: PeerCredentials, { owner, group }: Rights): Standing {
  if (uid === 0 || uid === owner) return 'owner';
  return groups.includes(group) ? 'operator' : 'stranger';
}

export const mayAsk = (standing: Standing, request: ControlRequest): boolean =>
  standing === 'owner' || (standing === 'operator' && isReadOnly(request));

/** Whether a request changes nothing, and its answer contains no secret. */
export function isReadOnly(request: ControlRequest): boolean {
  switch (request.command) {
    case 'status':
    case 'watch':
    case 'ping':
      return true;
    case 'admin':
      return request.request?.op === 'nodes';
    case 'leave':
    case 'share':
    case 'trust':
    case 'readdress':
    case 'backup':
      return false;
  }
}

import { createHash } from 'node:crypto';
import type { PeerCredentials } from '../../linux/net/unix-socket.js';
import type { ControlRequest } from './control.js';

/*
 * Root can allow a group of the system to look at a node or a hub. State directories are closed to everybody else, so
 * that group has a socket of its own. Everybody can connect to it; who may ask what is decided by the credentials that
 * the kernel gives. No I/O.
 */

/** Everybody may enter, and only root can put something there. */
export const OPERATORS_DIRECTORY = '/run/lametun-operators';

/** The socket for the operators of a state directory. */
export const operatorsPath = (state: string): string =>
  `${OPERATORS_DIRECTORY}/${createHash('sha256').update(state).digest('hex').slice(0, 32)}.sock`;

export interface Rights {
  /** The user who runs the process, root as a rule. */
  readonly owner: number;
  /** The group that may look. */
  readonly group: number;
}

export type Standing = 'owner' | 'operator' | 'stranger';

export function standingOf({ uid, groups }: PeerCredentials, { owner, group }: Rights): Standing {
  if (uid === 0 || uid === owner) return 'owner';
  return groups.includes(group) ? 'operator' : 'stranger';
}

export const mayAsk = (standing: Standing, request: ControlRequest): boolean =>
  standing === 'owner' || (standing === 'operator' && isReadOnly(request));

/** Changes nothing, and its answer holds no secret. */
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

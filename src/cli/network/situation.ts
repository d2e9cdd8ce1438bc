import { join } from 'node:path';
import { lockHolder } from '../../linux/files/file-lock.js';
import { readStoredNode } from '../../node/shell/state.js';
import type { Situation } from './decide.js';
import { hasHub, readHubSettings } from './hub-settings.js';

/**
 * Looks at a state directory, and leaves it as it is: nothing is made, nothing is locked.
 *
 * @throws LametunError when what is there cannot be read, or is damaged
 */
export function readSituation(state: string): Situation {
  return {
    state,
    member: readStoredNode(state),
    hub: hasHub(state) ? readHubSettings(state) : undefined,
    process: lockHolder(join(state, 'lock')),
  };
}

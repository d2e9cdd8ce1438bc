import { holderOf, readStoredNode } from '../../node/shell/state.js';
import type { Situation } from './decide.js';
import { hasHub, readHubSettings } from './hub-settings.js';

/**
 * Reads a state directory without changing or locking anything.
 *
 * @throws LametunError when a file cannot be read, or is damaged
 */
export function readSituation(state: string): Situation {
  return {
    state,
    member: readStoredNode(state),
    hub: hasHub(state) ? readHubSettings(state) : undefined,
    process: holderOf(state),
  };
}

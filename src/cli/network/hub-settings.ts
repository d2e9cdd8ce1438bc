import { existsSync, readFileSync } from 'node:fs';
import { LametunError } from '../../errors.js';
import { replaceFile } from '../../linux/files/safe-files.js';
import { refuseNewerState } from '../../node/shell/state.js';

/**
 * The options of a hub, stored for `lametun up`. The database URL may contain a password. Name, MTU and range are wishes
 * for a new network; later they say what the network has.
 */
export interface HubSettings {
  readonly port: number;
  readonly public: readonly string[];
  readonly network?: string | undefined;
  readonly database?: string | undefined;
  readonly key?: string | undefined;
  /** Unchanged if not given; off at first. */
  readonly ask?: boolean | undefined;
  /** Bytes. */
  readonly mtu?: number | undefined;
  /** IPv4. */
  readonly range?: string | undefined;
}

const file = (state: string): string => `${state}/hub.json`;

export const hasHub = (state: string): boolean => existsSync(file(state));

/** @throws LametunError when the file cannot be read, contains no settings, or is from a newer lametun */
export function readHubSettings(state: string): HubSettings {
  refuseNewerState(state);
  try {
    const found = JSON.parse(readFileSync(file(state), 'utf8')) as Partial<HubSettings>;
    if (typeof found.port !== 'number' || !Array.isArray(found.public))
      throw new Error('it lacks "port" or "public"');
    return { ...found, port: found.port, public: found.public as string[] };
  } catch (error) {
    throw new LametunError(
      'state',
      `${file(state)} is damaged (${(error as Error).message}): remove it, and start the hub with its options again`,
      { cause: error },
    );
  }
}

/** Readable by its owner alone. */
export function writeHubSettings(state: string, settings: HubSettings): void {
  try {
    replaceFile(file(state), `${JSON.stringify(settings, null, 2)}\n`);
  } catch (error) {
    throw new LametunError('state', `cannot write ${file(state)}: ${(error as Error).message}`, {
      cause: error,
    });
  }
}

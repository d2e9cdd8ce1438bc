import { join, resolve } from 'node:path';
import { Command } from 'commander';
import { LametunError } from '../../errors.js';
import type { Restored } from '../../hub/own-network.js';
import { askOnce, print } from './ask.js';
import { Console } from './console.js';
import { type DatabaseFlags, databaseOf, withDatabaseOptions } from './database.js';
import { hasHub, readHubSettings } from './hub-settings.js';
import { jsonOption, stateOption } from './place.js';

interface Flags extends DatabaseFlags {
  readonly state: string;
  readonly json?: boolean;
}

/** `backup` and `restore`: all that a hub knows but its key, in one file for either database. */
export function backupCommands(): Command[] {
  return [backupCommand(), restoreCommand()];
}

const command = (name: string, about: string): Command =>
  withDatabaseOptions(
    new Command(name).description(about).argument('<file>').addOption(stateOption()),
    'where the hub keeps its data, if not in its state directory',
  )
    .addOption(jsonOption())
    .allowExcessArguments(false);

function backupCommand(): Command {
  return command('backup', 'write what the hub knows to a file; its key is not in it').action(
    async (name: string, flags: Flags) => {
      const file = resolve(name);
      if (isElsewhere(flags) || !(await askedHub(flags.state, file))) {
        const { backupHub } = await import('../../hub/start.js');
        await backupHub(place(flags), file);
      }
      print(
        flags.json,
        { backup: file },
        () => `${file} is written: keep it as you keep keys, and hub.key with it`,
      );
    },
  );
}

/** Whether a database is named that is not the one of the hub here: what runs is not asked about that. */
function isElsewhere({ state, ...flags }: Flags): boolean {
  const named = databaseOf(flags);
  const own = (hasHub(state) ? readHubSettings(state).database : undefined) ?? join(state, 'hub.sqlite');
  return named !== undefined && named !== own;
}

/** @returns false when no hub runs */
async function askedHub(state: string, file: string): Promise<boolean> {
  try {
    await askOnce<'backup'>(state, { command: 'backup', file });
    return true;
  } catch (error) {
    if (error instanceof LametunError && error.code === 'unreachable') return false;
    throw error;
  }
}

function restoreCommand(): Command {
  return command('restore', 'put a backup in the place of what the hub knows')
    .option('--replace', 'replace another network that the database holds, and keep it in replaced-DATE')
    .action(async (name: string, flags: Flags & { readonly replace?: boolean }) => {
      const { restoreHub } = await import('../../hub/start.js');
      const { replace = false } = flags;
      const restored = await restoreHub(place(flags), resolve(name), { replace });
      print(flags.json, restored, () => restoredText(restored));
    });
}

function restoredText({ network, nodes, aside }: Restored): string {
  const what = `The network ${network} with ${nodes === 1 ? '1 node' : `${nodes} nodes`} is restored`;
  return aside === undefined ? what : `${what}; what was here before is kept in ${aside}`;
}

function place({ state, ...flags }: Flags) {
  const database = databaseOf(flags);
  const settings = hasHub(state) ? readHubSettings(state) : undefined;
  return {
    ...{ state, database: database ?? settings?.database, keyFile: settings?.key },
    log: new Console(false).log(false),
  };
}

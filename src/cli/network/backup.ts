import { randomBytes } from 'node:crypto';
import { readFileSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { Command } from 'commander';
import { LametunError } from '../../errors.js';
import type { Restored } from '../../hub/own-network.js';
import { packageVersion } from '../package-version.js';
import { askOnce, print } from './ask.js';
import { Console } from './console.js';
import { type DatabaseFlags, databaseOf, withDatabaseOptions } from './database.js';
import type { HubSettings } from './hub-settings.js';
import { jsonOption, stateOption } from './options.js';

interface Flags extends DatabaseFlags {
  readonly state: string;
  readonly json?: boolean;
}

/** `backup` and `restore`: everything the hub knows except its key, in one file for either database. */
export function backupCommands(): Command[] {
  return [backupCommand(), restoreCommand()];
}

const command = (name: string, about: string): Command =>
  withDatabaseOptions(
    new Command(name).description(about).argument('<file>', 'file of the backup').addOption(stateOption()),
    'use this database instead of the one in the state directory',
  )
    .addOption(jsonOption())
    .allowExcessArguments(false);

function backupCommand(): Command {
  return command('backup', 'write a backup of the hub, without its key').action(
    async (name: string, flags: Flags) => {
      const file = resolve(name);
      if ((await isElsewhere(flags)) || !(await askedHub(flags.state, file))) {
        const { backupHub } = await import('../../hub/own-network.js');
        await backupHub(await place(flags), file);
      }
      print(
        flags.json,
        { backup: file },
        () => `Wrote ${file}. Keep it as safe as a key, together with hub.key`,
      );
    },
  );
}

/** Whether the options name another database than this hub's, which the running hub cannot back up. */
async function isElsewhere({ state, ...flags }: Flags): Promise<boolean> {
  const named = databaseOf(flags);
  const own = (await settingsOf(state))?.database ?? join(state, 'hub.sqlite');
  return named !== undefined && named !== own;
}

/**
 * Asks the running hub, which writes to its state directory: as a service, it may not write elsewhere.
 *
 * @returns false when no hub is running
 */
async function askedHub(state: string, file: string): Promise<boolean> {
  const made = join(state, `backup.${randomBytes(8).toString('hex')}`);
  try {
    await askOnce<'backup'>(state, { command: 'backup', file: made });
    const { writeBackup } = await import('../../hub/store/backup.js');
    writeBackup(file, readFileSync(made, 'utf8'));
    return true;
  } catch (error) {
    if (error instanceof LametunError && error.code === 'unreachable') return false;
    throw error;
  } finally {
    rmSync(made, { force: true });
  }
}

function restoreCommand(): Command {
  return command('restore', 'restore a backup of the hub')
    .option('--replace', 'replace another network in the database, and keep it in replaced-DATE')
    .action(async (name: string, flags: Flags & { readonly replace?: boolean }) => {
      const { restoreHub } = await import('../../hub/own-network.js');
      const { replace = false } = flags;
      const restored = await restoreHub(await place(flags), resolve(name), { replace });
      print(flags.json, restored, () => restoredText(restored));
    });
}

function restoredText({ network, nodes, aside }: Restored): string {
  const what = `Restored network ${network} with ${nodes === 1 ? '1 node' : `${nodes} nodes`}`;
  return aside === undefined ? what : `${what}. The old data is in ${aside}`;
}

async function place({ state, ...flags }: Flags) {
  const database = databaseOf(flags);
  const settings = await settingsOf(state);
  return {
    ...{ state, database: database ?? settings?.database, keyFile: settings?.key },
    ...{ program: packageVersion(), log: new Console(false).log(false) },
  };
}

async function settingsOf(state: string): Promise<HubSettings | undefined> {
  const { hasHub, readHubSettings } = await import('./hub-settings.js'); // `--help` and the demo do not need it
  return hasHub(state) ? readHubSettings(state) : undefined;
}

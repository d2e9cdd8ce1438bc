import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { LametunError } from '../../errors.js';
import { replaceFile } from '../../linux/files/safe-files.js';
import type { Contents, Store } from '../membership/tables.js';

/** CONTRIBUTING.md says when it changes. */
const BACKUP_VERSION = 1;

/** A whole database as JSON, the same for SQLite and PostgreSQL. It contains no secret: invitations are stored as hashes. */
export interface Backup extends Contents {
  readonly format: 'lametun hub backup';
  readonly version: typeof BACKUP_VERSION;
  /** `lametun 0.1.0`, which wrote it. */
  readonly program?: string | undefined;
}

/**
 * Ids that may have been used since the backup: nodes that have not reconnected yet know their owners, and would refuse
 * another node with such an id.
 */
const IDS_SKIPPED = 1_000_000;
const LAST_ID = 2 ** 32 - 1;

/**
 * Writes a consistent state of everything to a file, mode 0600. The file is then complete, or does not exist.
 *
 * @param program `lametun 0.1.0`, which is named when an older version refuses the file
 * @throws StoreUnavailable; LametunError `usage` when the file cannot be written
 */
export async function backup(store: Store, file: string, program?: string): Promise<void> {
  const contents = await store.snapshot((tables) => tables.contents());
  const content: Backup = { format: 'lametun hub backup', version: BACKUP_VERSION, program, ...contents };
  writeBackup(file, `${JSON.stringify(content, null, 1)}\n`);
}

/** Writes the text of a backup. @throws like `backup` */
export function writeBackup(file: string, text: string): void {
  try {
    // In a directory that others can write to, they cannot make this file first.
    const beside = `${file}.${randomBytes(8).toString('hex')}`;
    replaceFile(file, text, { beside });
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    const isFull = code === 'ENOSPC' || code === 'EDQUOT' || code === 'EIO'; // otherwise another file name would help
    throw new LametunError(
      isFull ? 'state' : 'usage',
      `cannot write the backup ${file}: ${reasonOf(message)}`,
      {
        cause: error,
      },
    );
  }
}

/**
 * Replaces everything with a backup. The network gets a new epoch, so nodes fetch the whole map: changes after the backup
 * are undone, and their revisions are used again.
 *
 * @param epoch a random one
 * @returns the network's name, and how many members it has
 * @throws StoreUnavailable
 */
export async function restore(
  store: Store,
  { network, invites, nodes, shares }: Backup,
  epoch: string,
): Promise<{ readonly network: string; readonly nodes: number }> {
  const next_node = Math.min(network.next_node + IDS_SKIPPED, LAST_ID);
  await store.initialise((tables) =>
    tables.replaceContents({ network: { ...network, epoch, next_node }, invites, nodes, shares }),
  );
  return { network: network.name, nodes: nodes.filter(({ state }) => state !== 'removed').length };
}

/** Any other text could be made for a terminal. */
const PROGRAM = /^lametun [\w.+-]{1,32}$/;

/** Node's message about a file, without its last part: the operation, and perhaps the name of a temporary file. */
const reasonOf = (message: string): string => message.split(', ')[0]!;

/** @throws LametunError `usage` when the file is not a backup, `state` when a newer lametun wrote it */
export function readBackup(file: string): Backup {
  let content: Partial<Backup> | undefined;
  try {
    content = JSON.parse(readFileSync(file, 'utf8')) as Partial<Backup>;
  } catch (error) {
    if (!(error instanceof SyntaxError))
      throw new LametunError('usage', `cannot read ${file}: ${reasonOf((error as Error).message)}`, {
        cause: error,
      });
  }
  if (content?.format !== 'lametun hub backup')
    throw new LametunError('usage', `${file} is not a hub backup`);
  if (content.version !== BACKUP_VERSION) {
    const { program } = content;
    const newer = typeof program === 'string' && PROGRAM.test(program) ? program : 'a newer lametun';
    throw new LametunError(
      'state',
      `the backup ${file} was written by ${newer} (version ${Number(content.version)} of backups, this lametun knows ${BACKUP_VERSION}): install that version or a newer one, or use an older backup`,
    );
  }
  const { network, invites, nodes, shares } = content;
  const texts = [network?.id, network?.name, network?.hub_key];
  const isWhole =
    texts.every((text) => typeof text === 'string') && [invites, nodes, shares].every(Array.isArray);
  if (!isWhole) throw new LametunError('usage', `${file} is incomplete: use another backup`);
  return content as Backup;
}

import { readFileSync, statSync } from 'node:fs';
import { resolve } from 'node:path';
import { type Command, Option } from 'commander';
import { LametunError } from '../../errors.js';
import { isDetached } from './detach.js';

/** Where a hub's database is, as it was said. */
export interface DatabaseFlags {
  readonly database?: string;
  /** The same, read already. */
  readonly databaseFile?: string;
}

/** @param about what `--database` is for, here */
export function withDatabaseOptions(command: Command, about: string): Command {
  return command
    .addOption(new Option('--database <url>', about).argParser(checkedDatabase))
    .addOption(
      new Option(
        '--database-file <file>',
        'read that from a file, so that nobody sees its password',
      ).argParser(readDatabase),
    );
}

/** @throws LametunError `usage` when it was said twice */
export function databaseOf({ database, databaseFile }: DatabaseFlags): string | undefined {
  if (database !== undefined && databaseFile !== undefined)
    throw new LametunError('usage', 'give --database or --database-file, not both');
  return database ?? databaseFile;
}

/**
 * Where a database is. Text without a scheme could be an address, whose `postgres://` was forgotten, as well as a file: a
 * file's path says which it is. Nothing of the text is repeated: there may be a password in it.
 *
 * @throws LametunError `usage`
 */
export function databaseLocation(text: string): string {
  if (isUrl(text)) return text;
  if (/^\.{0,2}\//.test(text)) return resolve(text);
  throw new LametunError(
    'usage',
    '--database is neither a URL nor a path: write postgres://USER@HOST/NAME, or an SQLite file as /PATH or ./FILE',
  );
}

const isUrl = (text: string): boolean => /^postgres(ql)?:\/\/\S+$/.test(text) && URL.canParse(text);

/** Whoever starts it in the background has said so already. */
function checkedDatabase(text: string): string {
  const url = databaseLocation(text);
  if (hasPassword(url) && !isDetached())
    process.stderr.write(
      'lametun: warning: other users of this machine can see the password in --database while lametun starts, and your shell may keep it: give the whole in --database-file FILE, or the password in PGPASSWORD or PGPASSFILE\n',
    );
  return url;
}

/** As PostgreSQL's own programs read it: before the host, or as a parameter. */
export function hasPassword(url: string): boolean {
  try {
    const { password, searchParams } = new URL(url);
    return password !== '' || searchParams.has('password');
  } catch {
    return false;
  }
}

/** @throws LametunError `usage` */
function readDatabase(file: string): string {
  let text: string;
  try {
    if ((statSync(file).mode & 0o077) !== 0)
      throw new LametunError('usage', `others can read ${file}: chmod 600 ${file}`);
    text = readFileSync(file, 'utf8').trim();
  } catch (error) {
    if (error instanceof LametunError) throw error;
    throw new LametunError('usage', `--database-file cannot be read: ${(error as Error).message}`, {
      cause: error,
    });
  }
  if (isUrl(text)) return text;
  throw new LametunError(
    'usage',
    `${file} holds no database: one line, postgres://USER:PASSWORD@HOST/DATABASE`,
  );
}

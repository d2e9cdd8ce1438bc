import { readFileSync, statSync } from 'node:fs';
import { resolve } from 'node:path';
import { type Command, Option } from 'commander';
import { LametunError, usage } from '../../errors.js';
import { isDetached } from './detach.js';

/** The options that name a hub's database. */
export interface DatabaseFlags {
  readonly database?: string;
  /** The content of the file. */
  readonly databaseFile?: string;
}

/** @param about the help of `--database` */
export function withDatabaseOptions(command: Command, about: string): Command {
  return command
    .addOption(new Option('--database <url>', about).argParser(checkedDatabase))
    .addOption(
      new Option(
        '--database-file <file>',
        'read the database URL from a file, to hide its password',
      ).argParser(readDatabase),
    );
}

/** @throws LametunError `usage` when both are given */
export function databaseOf({ database, databaseFile }: DatabaseFlags): string | undefined {
  if (database !== undefined && databaseFile !== undefined)
    throw usage('--database and --database-file contradict each other: give one of them');
  return database ?? databaseFile;
}

/**
 * Parses the location of a database. Text without a scheme could be an address without its `postgres://`, or a file, so a
 * file needs a path. No message repeats the text: it may contain a password.
 *
 * @throws LametunError `usage`
 */
export function databaseLocation(text: string): string {
  if (isUrl(text)) return text;
  if (/^\.{0,2}\//.test(text)) return resolve(text);
  throw usage(
    '--database is neither a URL nor a path: write postgres://USER@HOST/NAME, or an SQLite file as /PATH or ./FILE',
  );
}

const isUrl = (text: string): boolean => /^postgres(ql)?:\/\/\S+$/.test(text) && URL.canParse(text);

/** The process in the foreground has warned already. */
function checkedDatabase(text: string): string {
  const url = databaseLocation(text);
  if (hasPassword(url) && !isDetached())
    process.stderr.write(
      'lametun: warning: other users of this machine can see the password in --database while lametun starts, and your shell may store it: use --database-file, PGPASSWORD or PGPASSFILE instead\n',
    );
  return url;
}

/** Finds a password where PostgreSQL's own programs do: before the host, or in a parameter. */
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
      throw usage(`other users can read ${file}: run chmod 600 ${file}`);
    text = readFileSync(file, 'utf8').trim();
  } catch (error) {
    if (error instanceof LametunError) throw error;
    throw usage(`cannot read --database-file: ${(error as Error).message}`, {
      cause: error,
    });
  }
  if (isUrl(text)) return text;
  throw usage(`${file} contains no database URL: write postgres://USER:PASSWORD@HOST/DATABASE on one line`);
}

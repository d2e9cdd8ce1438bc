import { readFileSync } from 'node:fs';
import { usage } from '../../errors.js';
import { parseToken, type Token } from '../../protocol/token.js';

/** The most that is read instead of an argument, bytes: far more than a token has. */
const LONGEST = 16_384;

/**
 * The token of `lametun join`: the argument, or standard input for `-`, or the content of a file. Other users can see
 * arguments. The whole command line that `lametun serve` prints is accepted as well.
 *
 * @throws LametunError `usage`, never with the token in it
 */
export function readToken(argument: string | undefined, file: string | undefined): Token | undefined {
  if (argument !== undefined && file !== undefined)
    throw usage('a token and --token-file contradict each other: give one of them');
  if (argument !== undefined && argument !== '-') {
    process.title = 'lametun join'; // `ps` would show the secret
    return parseToken(argument);
  }
  if (argument === undefined && file === undefined) return undefined;
  const name = argument === '-' ? 'standard input' : file!;
  return parseToken(
    content(argument === '-' ? 0 : file!, name).replace(/^\s*(?:sudo\s+)?lametun\s+join\s+/, ''),
  );
}

function content(source: number | string, name: string): string {
  let text: string;
  try {
    text = readFileSync(source, 'utf8');
  } catch (error) {
    throw usage(`cannot read the token from ${name}: ${(error as Error).message}`, {
      cause: error,
    });
  }
  if (text.trim() === '') throw usage(`no token in ${name}: it is empty`);
  if (text.length > LONGEST) throw usage(`no token in ${name}: it is too long`);
  return text;
}

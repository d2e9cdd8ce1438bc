import { readFileSync } from 'node:fs';
import { LametunError } from '../../errors.js';
import { parseToken, type Token } from '../../protocol/token.js';

/** Of what is read in place of an argument, bytes: far more than a token has. */
const LONGEST = 16_384;

/**
 * The token of `lametun join`: the argument, or with `-` what comes on the standard input, or a file's content. Other
 * users can see arguments; a line as `lametun serve` prints it, command included, is taken as well.
 *
 * @throws LametunError `usage`, never with the token in it
 */
export function readToken(argument: string | undefined, file: string | undefined): Token | undefined {
  if (argument !== undefined && file !== undefined)
    throw new LametunError('usage', 'give a token or --token-file, not both');
  if (argument !== undefined && argument !== '-') {
    process.title = 'lametun join'; // where `ps` would show the secret
    return parseToken(argument);
  }
  if (argument === undefined && file === undefined) return undefined;
  const name = argument === '-' ? 'the standard input' : file!;
  return parseToken(
    content(argument === '-' ? 0 : file!, name).replace(/^\s*(?:sudo\s+)?lametun\s+join\s+/, ''),
  );
}

function content(source: number | string, name: string): string {
  let text: string;
  try {
    text = readFileSync(source, 'utf8');
  } catch (error) {
    throw new LametunError('usage', `cannot read the token from ${name}: ${(error as Error).message}`, {
      cause: error,
    });
  }
  if (text.trim() === '') throw new LametunError('usage', `there is no token in ${name}: it is empty`);
  if (text.length > LONGEST) throw new LametunError('usage', `there is no token in ${name}: it is too long`);
  return text;
}

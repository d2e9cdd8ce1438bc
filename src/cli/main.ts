#!/usr/bin/env node
import { EXIT_STATUS, LametunError } from '../errors.js';
import { logged } from '../linux/service/priority.js';
import { errorText } from './error-text.js';
import { packageVersion } from './package-version.js';

/**
 * The command line. If the first argument begins with `-`, as in `lametun -listen`, the flags of the post's program apply.
 * Everything else is a subcommand.
 *
 * Exit status: 0, 1 when something failed, 2 when the arguments need a change: `EXIT_STATUS`.
 */
async function main(args: readonly string[]): Promise<number> {
  if (args.length === 1 && args[0] === '--version') {
    process.stdout.write(`${packageVersion()}\n`);
    return 0;
  }
  const isPlain = args[0]?.startsWith('-') === true && !HELP.has(args[0]);
  if (isPlain || STAYING.has(args[0] ?? ''))
    (await import('../linux/process/capabilities.js')).limitProcess();
  if (isPlain) return (await import('./plain.js')).plainCommand(args);
  return (await import('./command-line.js')).runCommandLine(args);
}

/** These list the subcommands; `-help` belongs to the post's program. */
const HELP: ReadonlySet<string> = new Set(['--help', '-h']);

/** These keep running, and move packets or listen to strangers. */
const STAYING: ReadonlySet<string> = new Set(['serve', 'join', 'hub', 'up']);

function fail(error: unknown): number {
  if (error instanceof LametunError) {
    const isPlain = process.argv[2]?.startsWith('-') === true;
    const help = error.code === 'usage' && isPlain ? ' (lametun --help lists commands and options)' : '';
    say(`lametun: ${errorText(error)}${help}\n`);
    return Object.hasOwn(EXIT_STATUS, error.code) ? EXIT_STATUS[error.code] : 1; // another version may know other codes
  }
  say(`lametun: ${errorText(error)}\n`);
  return 1;
}

const say = (text: string): boolean => process.stderr.write(logged(2, text, 'error'));

main(process.argv.slice(2))
  .catch(fail)
  .then((status) => {
    process.exitCode = status;
  });

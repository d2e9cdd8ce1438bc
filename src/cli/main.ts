#!/usr/bin/env node
import { Command, CommanderError, type OutputConfiguration } from 'commander';
import { EXIT_STATUS, LametunError } from '../errors.js';
import { commandGroups } from './commands.js';
import { errorText } from './error-text.js';
import { packageVersion } from './package-version.js';
import { plainUsage } from './plain-options.js';

/**
 * The command line. If the first argument begins with `-`, as in `lametun -listen`, the flags of the post's program apply.
 * Everything else is a subcommand.
 *
 * Exit status: 0, 1 when something failed, 2 when the arguments need a change: `EXIT_STATUS`.
 */
async function main(args: readonly string[]): Promise<number> {
  const isPlain = args[0]?.startsWith('-') === true && !HELP.has(args[0]);
  if (isPlain || STAYING.has(args[0] ?? ''))
    (await import('../linux/process/capabilities.js')).limitProcess();
  if (isPlain) return (await import('./plain.js')).plainCommand(args);
  process.stdout.on('error', () => {}); // `lametun --help | head`: the reader is gone
  const program = new Command('lametun')
    .description('a VPN that explains itself')
    .exitOverride()
    .configureOutput(oneLine('lametun --help lists the commands'))
    .addHelpText('after', `\nThe tunnel of the post "VPNs from first principles":\n${plainUsage()}`)
    .addHelpText('after', `\n${packageVersion()}`);
  for (const { title, commands } of commandGroups()) {
    for (const command of commands) {
      command.copyInheritedSettings(program).helpGroup(title);
      command.configureOutput(oneLine(`lametun ${command.name()} --help lists the options`));
      program.addCommand(command);
    }
  }
  if (args.length === 0) program.help({ error: true });
  await program.parseAsync(args, { from: 'user' });
  return Number(process.exitCode ?? 0); // set by the command
}

/** Makes the parser's errors one line each, like all others. */
const oneLine = (hint: string): OutputConfiguration => ({
  outputError: (text, write) =>
    write(
      `lametun: ${text
        .replace(/^error: /, '')
        .trim()
        .replaceAll(/\s*\n\s*/g, ' ')} (${hint})\n`,
    ),
});

/** These list the subcommands; `-help` belongs to the post's program. */
const HELP: ReadonlySet<string> = new Set(['--help', '-h']);

/** These keep running, and move packets or listen to strangers. */
const STAYING: ReadonlySet<string> = new Set(['serve', 'join', 'hub', 'up']);

function fail(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
  if (error instanceof LametunError) {
    const isPlain = process.argv[2]?.startsWith('-') === true;
    const help = error.code === 'usage' && isPlain ? ' (lametun --help lists commands and options)' : '';
    process.stderr.write(`lametun: ${errorText(error)}${help}\n`);
    return Object.hasOwn(EXIT_STATUS, error.code) ? EXIT_STATUS[error.code] : 1; // another version may know other codes
  }
  process.stderr.write(`lametun: ${errorText(error)}\n`);
  return 1;
}

process.exitCode = await main(process.argv.slice(2)).catch(fail);

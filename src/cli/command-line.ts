import { Command, CommanderError, type OutputConfiguration } from 'commander';
import { commandGroups } from './commands.js';
import { exampleText } from './details.js';
import { completeCommand } from './network/complete.js';
import { packageVersion } from './package-version.js';
import { plainUsage } from './plain-options.js';

/**
 * Runs a subcommand.
 *
 * @returns the exit status
 * @throws LametunError
 */
export async function runCommandLine(args: readonly string[]): Promise<number> {
  process.stdout.on('error', () => {}); // `lametun --help | head`: the reader is gone
  const program = buildProgram();
  try {
    if (args.length === 0) program.help({ error: true });
    await program.parseAsync(args, { from: 'user' });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    return error.exitCode === 0 ? 0 : 2; // 0: it has printed a help text
  }
  return Number(process.exitCode ?? 0); // set by the command
}

/** The program with all its commands: what `--help`, the manual pages and the completions describe. */
export function buildProgram(): Command {
  const program = new Command('lametun')
    .description('a VPN that explains itself')
    .helpOption('-h, --help', 'print this help')
    .helpCommand('help [command]', 'print the help of a command')
    .commandsGroup('Other commands:')
    .version(packageVersion(), '--version', 'print the version')
    .exitOverride()
    .configureOutput(oneLine('lametun --help lists the commands'))
    .addHelpText('after', `\nThe tunnel of the post "VPNs from first principles":\n${plainUsage()}`)
    .addHelpText('after', `\n${packageVersion()}`);
  for (const { title, commands } of commandGroups()) {
    for (const command of commands) {
      command.copyInheritedSettings(program).helpGroup(title);
      command.configureOutput(oneLine(`lametun ${command.name()} --help lists the options`));
      command.addHelpText('after', `\n${exampleText(command.name())}`);
      program.addCommand(command);
    }
  }
  return program.addCommand(completeCommand().copyInheritedSettings(program), { hidden: true });
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

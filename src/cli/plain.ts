import { runPlain } from '../plain/run.js';
import { packageVersion } from './package-version.js';
import { parsePlainFlags, plainOptions, plainUsage } from './plain-options.js';
import { jsonReporter, textReporter } from './plain-report.js';
import { stopOnSignals } from './signals.js';

/**
 * `lametun -listen`, `lametun -server HOST`: the post's program.
 *
 * @returns the exit status
 */
export async function plainCommand(args: readonly string[]): Promise<number> {
  const flags = parsePlainFlags(args);
  if (flags.help) {
    process.stdout.write(`${plainUsage()}\n`);
    return 0;
  }
  if (flags.version) {
    process.stdout.write(`${packageVersion()}\n`);
    return 0;
  }
  const options = plainOptions(flags);
  const reporter = flags.json ? jsonReporter() : textReporter();
  try {
    const end = await runPlain(options, reporter.report, stopOnSignals());
    return end === 'stopped' ? 0 : 1;
  } finally {
    reporter.close();
  }
}

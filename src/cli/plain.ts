import { LametunError } from '../errors.js';
import { runPlain } from '../plain/run.js';
import { packageVersion } from './package-version.js';
import { parsePlainFlags, plainOptions, plainUsage } from './plain-options.js';
import { jsonReporter, textReporter } from './plain-report.js';
import { abortOnSignals } from './signals.js';

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
  process.chdir('/'); // a long-running program must not keep a folder in use, and no worker starts in one that is gone
  const reporter = flags.json ? jsonReporter() : textReporter();
  const stop = new AbortController();
  const output = watchOutput(stop);
  try {
    const end = await runPlain(options, reporter.report, () => {
      abortOnSignals(stop);
      return stop.signal;
    });
    if (output.error !== undefined) throw output.error;
    return end === 'stopped' ? 0 : 1;
  } finally {
    reporter.close();
    setTimeout(() => process.exit(), SLOW_READER).unref(); // what is unread by then stays unread
  }
}

/**
 * Ends the tunnel when its output can no longer be written. A reader that went away (`lametun ... | head`) is no failure;
 * anything else, such as a full disk, is.
 */
function watchOutput(stop: AbortController): { readonly error: LametunError | undefined } {
  const output: { error: LametunError | undefined } = { error: undefined };
  for (const stream of [process.stdout, process.stderr]) {
    stream.on('error', ({ code, message }: NodeJS.ErrnoException) => {
      if (code !== 'EPIPE') {
        output.error ??= new LametunError(
          'linux',
          `cannot write output: ${message}: make room, or write elsewhere`,
        );
      }
      stop.abort();
    });
  }
  return output;
}

/** How long to wait at the end for a slow reader, milliseconds. */
const SLOW_READER = 1_000;

import { Command, Option } from 'commander';
import { runDemo } from '../demo/demo.js';

interface Flags {
  readonly pcap?: string;
  readonly keep?: boolean;
  readonly step?: boolean;
  readonly record?: string;
}

/** `lametun demo`: the lesson. */
export function demoCommand(): Command {
  return new Command('demo')
    .description('show how a tunnel joins two private networks, on this machine alone')
    .option('--pcap <file>', 'write the captured packets to FILE, for Wireshark')
    .option('--keep', 'keep the networks running at the end, and show how to enter each host')
    .option('--step', 'wait for a key at each screen')
    .addOption(new Option('--record <file>', 'record the lesson to FILE').hideHelp())
    .allowExcessArguments(false)
    .action(async ({ pcap, keep = false, step = false, record }: Flags) => {
      const status = await runDemo({ pcap, keep, step, record });
      // A slow reader of a pipe gets the rest first; after a signal nobody waits for it.
      if (status < 128) await new Promise((resolve) => process.stdout.write('', resolve));
      // Not exitCode: a terminal that waits for input would keep the process alive.
      process.exit(status);
    });
}

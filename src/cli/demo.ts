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
    .description('show on this machine alone how a tunnel joins two private networks')
    .option('--pcap <file>', 'write the packets of all stations to FILE, for Wireshark')
    .option('--keep', 'leave it standing at the end, and say how to enter each host')
    .option('--step', 'wait for a key at each stop, for ever')
    .addOption(new Option('--record <file>', 'write the lesson to FILE, to be played elsewhere').hideHelp())
    .allowExcessArguments(false)
    .action(async ({ pcap, keep = false, step = false, record }: Flags) => {
      const status = await runDemo({ pcap, keep, step, record });
      // What a slow reader of a pipe has not taken yet would be lost; after a signal nobody waits for it.
      if (status < 128) await new Promise((resolve) => process.stdout.write('', resolve));
      // Not exitCode: a terminal that waits for input would keep the process alive.
      process.exit(status);
    });
}

import type { Command } from 'commander';
import { usage } from '../../errors.js';
import { askControl } from '../../node/control/control-client.js';
import type { OfferedShare } from '../../protocol/messages.js';
import { packageVersion } from '../package-version.js';
import { shareText } from './admin-text.js';
import { askOnce, print } from './ask.js';
import { type Common, collect, command, givenNetwork } from './options.js';
import { pingText, statusText } from './status-text.js';

/** Commands for every member. */
export function memberCommands(): Command[] {
  return [statusCommand(), pingCommand(), shareCommand(), trustCommand()];
}

function statusCommand(): Command {
  return command('status', 'show every node, the path to it, and why the path is not direct')
    .option('--watch', 'show changes until Ctrl-C')
    .action(async ({ state, json, watch }: Common & { readonly watch?: boolean }) => {
      if (!watch) {
        const status = await askOnce<'status'>(state, { command: 'status' });
        print(json, status, () => statusText(status, Date.now()));
        return;
      }
      const clear = process.stdout.isTTY && !json ? '\x1b[H\x1b[2J' : '';
      await askControl<'watch'>(
        state,
        { command: 'watch' },
        (status) => {
          process.stdout.write(clear);
          print(json, status, () => statusText(status, Date.now()) + (clear === '' ? '\n' : ''));
        },
        { signal: untilInterrupted(), program: packageVersion() },
      );
    });
}

function pingCommand(): Command {
  interface Flags extends Common {
    readonly count?: number;
  }
  return command('ping', 'ping a node, and show the path of each answer')
    .argument('<node>', 'name, number or address of the node')
    .option('-c, --count <n>', 'stop after this many pings', (text) => {
      const count = Number(text);
      if (/^\d{1,6}$/.test(text) && count > 0) return count;
      throw usage(`--count ${text}: give a number from 1 to 999999`);
    })
    .action(async (node: string, { state, json, count }: Flags) => {
      let answered = false;
      await askControl<'ping'>(
        state,
        { command: 'ping', node, count },
        (answer) => {
          answered ||= answer.rttMs !== undefined;
          print(json, answer, () => pingText(answer));
        },
        { signal: untilInterrupted(), program: packageVersion() },
      );
      if (!answered) process.exitCode = 1; // as ping(8)
    });
}

function shareCommand(): Command {
  return command('share', 'share networks behind this machine with the other members')
    .argument('[network...]', 'all networks to share from now on, such as 192.168.1.0/24')
    .option('--none', 'stop sharing')
    .action(async (networks: string[], { state, json, none }: Common & { readonly none?: boolean }) => {
      const wanted = networks.reduce(
        (all: readonly string[], text) => collect('share', text, all, givenNetwork),
        [],
      );
      if (none && wanted.length > 0) throw usage('--none contradicts a list of networks: give one of them');
      const shares = none ? [] : wanted.length > 0 ? wanted : undefined;
      const answer = await askOnce<'share'>(state, { command: 'share', shares });
      print(json, answer, () =>
        answer.shares.length === 0 ? 'This node shares no networks' : answer.shares.map(offerText).join('\n'),
      );
    });
}

const offerText = (share: OfferedShare): string =>
  share.state === 'approved' ? `${share.network} (approved)` : shareText(share);

function trustCommand(): Command {
  return command('trust', 'accept the present key of a node, and end the warning about it')
    .argument('<node>', 'name, number or address of the node')
    .action(async (node: string, { state, json }: Common) => {
      const answer = await askOnce<'trust'>(state, { command: 'trust', node });
      print(json, answer, () =>
        answer.changed
          ? `Trusted the key of ${answer.node}: ${answer.key}`
          : `The key of ${answer.node} has not changed: ${answer.key}`,
      );
    });
}

function untilInterrupted(): AbortSignal {
  const controller = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => controller.abort());
  process.stdout.on('error', () => controller.abort()); // the reader is gone
  return controller.signal;
}

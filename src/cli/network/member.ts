import type { Command } from 'commander';
import { LametunError } from '../../errors.js';
import { askControl } from '../../node/control/control-socket.js';
import type { OfferedShare } from '../../protocol/messages.js';
import { packageVersion } from '../package-version.js';
import { shareText } from './admin-text.js';
import { askOnce, print } from './ask.js';
import { type Common, collect, command, givenNetwork } from './place.js';
import { pingText, statusText } from './status-text.js';

/** What every node can do. */
export function memberCommands(): Command[] {
  return [statusCommand(), pingCommand(), shareCommand(), trustCommand()];
}

function statusCommand(): Command {
  return command('status', 'who is in the network, how each is reached, and why not better')
    .option('--watch', 'go on until Ctrl-C')
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
  return command('ping', 'ask a node for an answer, and say which way it came')
    .argument('<node>', 'its name, number or address')
    .option('-c, --count <n>', 'end after so many', (text) => {
      const count = Number(text);
      if (/^\d{1,6}$/.test(text) && count > 0) return count;
      throw new LametunError('usage', `--count ${text}: a number from 1 to 999999`);
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
  return command('share', 'offer networks behind this machine to the others')
    .argument('[networks...]', 'all that it offers from now on: 192.168.1.0/24')
    .option('--none', 'share nothing any more')
    .action(async (networks: string[], { state, json, none }: Common & { readonly none?: boolean }) => {
      const wanted = networks.reduce(
        (all: readonly string[], text) => collect('share', text, all, givenNetwork),
        [],
      );
      if (none && wanted.length > 0)
        throw new LametunError('usage', '--none is for no networks: name some, or give --none');
      const shares = none ? [] : wanted.length > 0 ? wanted : undefined;
      const answer = await askOnce<'share'>(state, { command: 'share', shares });
      print(json, answer, () =>
        answer.shares.length === 0 ? 'This node shares nothing' : answer.shares.map(offerText).join('\n'),
      );
    });
}

const offerText = (share: OfferedShare): string =>
  share.state === 'approved' ? `${share.network} (approved: others reach it)` : shareText(share);

function trustCommand(): Command {
  return command('trust', 'take the key that a node has now for the right one, and warn of it no more')
    .argument('<node>', 'its name, number or address')
    .action(async (node: string, { state, json }: Common) => {
      const answer = await askOnce<'trust'>(state, { command: 'trust', node });
      print(json, answer, () =>
        answer.changed
          ? `The key of ${answer.node} is taken for the right one: ${answer.key}`
          : `The key of ${answer.node} is the one by which it was met first: ${answer.key}`,
      );
    });
}

function untilInterrupted(): AbortSignal {
  const controller = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => controller.abort());
  process.stdout.on('error', () => controller.abort()); // the reader has gone
  return controller.signal;
}

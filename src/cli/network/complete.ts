import { Command } from 'commander';
import { administer, askOnce } from './ask.js';
import { stateOption } from './options.js';

/** How long a user who pressed Tab waits for the running process, milliseconds. */
const PATIENCE = 300;

/**
 * `lametun complete COMMAND`: prints what the first argument of a command can be, one a line, for the completion of a shell.
 * It prints nothing if no process answers, or this user may not ask it.
 */
export function completeCommand(): Command {
  return new Command('complete')
    .argument('<command>')
    .addOption(stateOption())
    .action(async (command: string, { state }: { readonly state: string }) => {
      const words = await candidates(command, state, AbortSignal.timeout(PATIENCE)).catch(() => []);
      process.stdout.write(words.map((word) => `${word}\n`).join(''));
    });
}

/**
 * Names come from other machines: words with a character that has a meaning to a shell are left out.
 *
 * @throws LametunError also when the signal ends it
 */
export async function candidates(
  command: string,
  state: string,
  signal: AbortSignal,
): Promise<readonly string[]> {
  const found = Object.hasOwn(FINDERS, command) ? await FINDERS[command]!(state, signal) : [];
  return found.filter((word) => /^[A-Za-z0-9][A-Za-z0-9._-]*$/.test(word));
}

type Finder = (state: string, signal: AbortSignal) => Promise<readonly string[]>;

const peers: Finder = async (state, signal) => {
  const { peers } = await askOnce<'status'>(state, { command: 'status' }, signal);
  return peers.map(({ name }) => name);
};

const rows = async (state: string, signal: AbortSignal) =>
  (await administer<'nodes'>(state, { op: 'nodes' }, signal)).nodes;
const nodes: Finder = async (state, signal) => (await rows(state, signal)).map(({ name }) => name);
const unapproved: Finder = async (state, signal) =>
  (await rows(state, signal))
    .filter(({ pending, offered }) => pending || offered.some((share) => share.state === 'pending'))
    .map(({ name }) => name);

const invites: Finder = async (state, signal) =>
  (await administer<'invites'>(state, { op: 'invites' }, signal)).invites
    .filter((invite) => invite.state === 'open')
    .map(({ id }) => id);

const FINDERS: Readonly<Record<string, Finder>> = {
  ping: peers,
  trust: peers,
  approve: unapproved,
  rename: nodes,
  remove: nodes,
  revoke: invites,
};

import { type Command, Option } from 'commander';
import { usage } from '../../errors.js';
import { approveText, invitesText, inviteText, nodesText } from './admin-text.js';
import { administer, print } from './ask.js';
import { optionFor } from './decide.js';
import {
  type Common,
  command,
  givenLabel,
  givenNetwork,
  givenNode,
  listOption,
  parseDuration,
} from './options.js';

/** Commands for administrators: root on the hub's machine, and members that were invited with `--admin`. */
export function adminCommands(): Command[] {
  return [
    inviteCommand(),
    invitesCommand(),
    revokeCommand(),
    nodesCommand(),
    approveCommand(),
    renameCommand(),
    removeCommand(),
  ];
}

function inviteCommand(): Command {
  interface Flags extends Common {
    readonly expires: number;
    readonly reusable?: boolean;
    readonly uses?: number;
    readonly admin?: boolean;
    readonly share?: readonly string[];
  }
  return command('invite', 'make a token for another machine')
    .addOption(
      new Option('--expires <time>', 'set how long the token is valid: 30m, 24h, 7d')
        .argParser((text) => parseDuration('--expires', text))
        .default(86_400, '24h'),
    )
    .option('--reusable', 'allow 100 machines')
    .option('--uses <n>', 'allow this many machines', givenUses)
    .option('--admin', 'let the new node administer the network')
    .addOption(
      listOption('--share <network>', 'let the new node share this network without approval', givenNetwork),
    )
    .action(async ({ state, json, expires, reusable, uses, admin = false, share = [] }: Flags) => {
      if (reusable && uses === 1)
        throw usage('--reusable and --uses 1 contradict each other: give one of them');
      const isReusable = uses === undefined ? reusable === true : uses > 1;
      const request = { op: 'invite', expires, reusable: isReusable, uses, admin, shares: share } as const;
      const answer = await administer<'invite'>(state, request);
      print(json, { ...answer, command: `lametun join ${answer.token}` }, () =>
        inviteText(
          answer,
          `To revoke it, run: lametun revoke${optionFor(state)} ${answer.invite}`,
          Date.now(),
        ),
      );
    });
}

function invitesCommand(): Command {
  return command('invites', 'list the invitations').action(async ({ state, json }: Common) => {
    const answer = await administer<'invites'>(state, { op: 'invites' });
    print(json, answer, () => invitesText(answer.invites, Date.now()));
  });
}

function revokeCommand(): Command {
  return command('revoke', 'revoke an invitation')
    .argument('<invite>', 'id from `lametun invites`', givenInvite)
    .action(async (invite: string, { state, json }: Common) => {
      const { removed } = await administer<'revoke'>(state, { op: 'revoke', invite });
      const waited = removed === 0 ? '' : `. Pending nodes removed: ${removed}`;
      print(
        json,
        { revoked: invite, removed },
        () => `Revoked ${invite}; nodes that joined with it stay${waited}`,
      );
    });
}

function givenUses(text: string): number {
  const uses = Number(text);
  if (/^\d{1,5}$/.test(text) && uses >= 1 && uses <= 65_534) return uses;
  throw usage(`--uses ${text}: give a number from 1 to 65534`);
}

/** The characters of the hub's invitation ids. */
function givenInvite(text: string): string {
  if (/^[\w.-]{1,64}$/.test(text)) return text;
  throw usage(`no invitation ${JSON.stringify(text)}: \`lametun invites\` lists them`);
}

function nodesCommand(): Command {
  return command('nodes', 'list all nodes, including pending ones').action(
    async ({ state, json }: Common) => {
      const answer = await administer<'nodes'>(state, { op: 'nodes' });
      print(json, answer, () => nodesText(answer.nodes, Date.now()));
    },
  );
}

function approveCommand(): Command {
  return command('approve', 'approve a pending node, and the networks it shares')
    .argument('<node>', 'name or number of the node', givenNode)
    .addOption(listOption('--share <network>', 'approve only this network; repeatable', givenNetwork))
    .action(async (node: string, { state, json, share }: Common & { readonly share?: readonly string[] }) => {
      const request = { op: 'approve', node, ...(share === undefined ? {} : { shares: share }) } as const;
      const answer = await administer<'approve'>(state, request);
      print(json, answer, () => approveText(answer));
    });
}

function renameCommand(): Command {
  return command('rename', 'rename a node')
    .argument('<node>', 'name or number of the node', givenNode)
    .argument('<name>', 'new name', (name) => givenLabel('the name', name))
    .action(async (node: string, name: string, { state, json }: Common) => {
      const answer = await administer<'rename'>(state, { op: 'rename', node, name });
      print(json, answer, () =>
        answer.before === name ? `The name is already ${name}` : `Renamed ${answer.before} to ${name}`,
      );
    });
}

function removeCommand(): Command {
  return command('remove', 'remove a node from the network')
    .argument('<node>', 'name or number of the node', givenNode)
    .option('--force', "remove even the node on the hub's own machine")
    .action(async (node: string, { state, json, force = false }: Common & { readonly force?: boolean }) => {
      const answer = await administer<'remove'>(state, { op: 'remove', node, force });
      print(json, answer, () => `Removed ${answer.name}`);
    });
}

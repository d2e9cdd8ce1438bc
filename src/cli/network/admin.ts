import { type Command, Option } from 'commander';
import { LametunError } from '../../errors.js';
import { approveText, invitesText, inviteText, nodesText } from './admin-text.js';
import { administer, print } from './ask.js';
import {
  type Common,
  command,
  givenLabel,
  givenNetwork,
  givenNode,
  listOption,
  parseDuration,
} from './place.js';

/** What administrators do: root on the hub's machine, and members that were invited as such. */
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
  return command('invite', 'make a line by which another machine joins')
    .addOption(
      new Option('--expires <time>', 'for how long it is good: 30m, 24h, 7d')
        .argParser((text) => parseDuration('--expires', text))
        .default(86_400, '24h'),
    )
    .option('--reusable', 'let 100 machines join by it')
    .option('--uses <n>', 'let this many machines join by it', givenUses)
    .option('--admin', 'whoever joins by it may administer the network')
    .addOption(
      listOption(
        '--share <network>',
        'whoever joins by it may share this network without being asked',
        givenNetwork,
      ),
    )
    .action(async ({ state, json, expires, reusable, uses, admin = false, share = [] }: Flags) => {
      if (reusable && uses === 1)
        throw new LametunError('usage', '--reusable and --uses 1 contradict each other: give one of them');
      const isReusable = uses === undefined ? reusable === true : uses > 1;
      const request = { op: 'invite', expires, reusable: isReusable, uses, admin, shares: share } as const;
      const answer = await administer<'invite'>(state, request);
      print(json, { ...answer, command: `lametun join ${answer.token}` }, () =>
        inviteText(answer, Date.now()),
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
  return command('revoke', 'take an invitation back')
    .argument('<invite>', 'as `lametun invites` names it', givenInvite)
    .action(async (invite: string, { state, json }: Common) => {
      const { removed } = await administer<'revoke'>(state, { op: 'revoke', invite });
      const waited = removed === 0 ? '' : `. ${removed} nodes that waited for approval were removed`;
      print(
        json,
        { revoked: invite, removed },
        () => `Nobody joins by ${invite} any more; who has joined stays${waited}`,
      );
    });
}

function givenUses(text: string): number {
  const uses = Number(text);
  if (/^\d{1,5}$/.test(text) && uses >= 1 && uses <= 65_534) return uses;
  throw new LametunError('usage', `--uses ${text}: give a number from 1 to 65534`);
}

/** The hub's names of invitations are made of these. */
function givenInvite(text: string): string {
  if (/^[\w.-]{1,64}$/.test(text)) return text;
  throw new LametunError(
    'usage',
    `there is no invitation ${JSON.stringify(text)}: \`lametun invites\` lists them`,
  );
}

function nodesCommand(): Command {
  return command('nodes', 'list the nodes, those that wait for approval among them').action(
    async ({ state, json }: Common) => {
      const answer = await administer<'nodes'>(state, { op: 'nodes' });
      print(json, answer, () => nodesText(answer.nodes, Date.now()));
    },
  );
}

function approveCommand(): Command {
  return command('approve', 'let a node in that waits, and let it share what it offers')
    .argument('<node>', 'its name or number', givenNode)
    .addOption(listOption('--share <network>', 'of what it offers, only this; repeatable', givenNetwork))
    .action(async (node: string, { state, json, share }: Common & { readonly share?: readonly string[] }) => {
      const request = { op: 'approve', node, ...(share === undefined ? {} : { shares: share }) } as const;
      const answer = await administer<'approve'>(state, request);
      print(json, answer, () => approveText(answer));
    });
}

function renameCommand(): Command {
  return command('rename', 'call a node something else')
    .argument('<node>', 'its name or number', givenNode)
    .argument('<name>', 'what it is called from now on', (name) => givenLabel('the name', name))
    .action(async (node: string, name: string, { state, json }: Common) => {
      const answer = await administer<'rename'>(state, { op: 'rename', node, name });
      print(json, answer, () =>
        answer.before === name ? `${name} is called that already` : `${answer.before} is called ${name} now`,
      );
    });
}

function removeCommand(): Command {
  return command('remove', 'put a node out of the network')
    .argument('<node>', 'its name or number', givenNode)
    .option('--force', "remove even the node on the hub's own machine")
    .action(async (node: string, { state, json, force = false }: Common & { readonly force?: boolean }) => {
      const answer = await administer<'remove'>(state, { op: 'remove', node, force });
      print(json, answer, () => `${answer.name} is no member any more`);
    });
}

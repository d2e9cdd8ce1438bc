import { LametunError } from '../../errors.js';
import { contradiction } from '../../hub/fixed-settings.js';
import type { StoredNode } from '../../node/machine/stored.js';
import type { HubAddress, Token } from '../../protocol/token.js';
import type { HubSettings } from './hub-settings.js';
import { DEFAULT_STATE } from './place.js';

/*
 * What a command does that begins a hub or a node: by its options, and by what the state directory holds. Each option takes
 * effect or is refused here, before anything is changed. No I/O.
 */

export type StartCommand = 'serve' | 'join' | 'hub' | 'up';

/** What a state directory holds, and whether a process has it. */
export interface Situation {
  readonly state: string;
  readonly member?: StoredNode | undefined;
  /** What its hub was started with. */
  readonly hub?: HubSettings | undefined;
  /** The number of the process that runs on it; 0 when that is not known. */
  readonly process?: number | undefined;
}

/** What was typed, parsed. What was not typed is undefined. */
export interface Given {
  readonly detach?: boolean | undefined;
  readonly install?: boolean | undefined;
  readonly interface?: string | undefined;
  /** A group of the system that may look; false takes that back. */
  readonly operators?: string | false | undefined;
  // Of a node.
  readonly token?: Token | undefined;
  readonly name?: string | undefined;
  readonly share?: readonly string[] | undefined;
  // Of a hub.
  readonly network?: string | undefined;
  readonly port?: number | undefined;
  readonly public?: readonly string[] | undefined;
  readonly database?: string | undefined;
  readonly key?: string | undefined;
  readonly ask?: boolean | undefined;
  readonly mtu?: number | undefined;
  readonly range?: string | undefined;
  readonly newNetwork?: boolean | undefined;
}

/** What is to run. */
export interface Plan {
  readonly hub?: HubSettings | undefined;
  /** Whether the hub begins another network than the one that is here, which is kept aside with its member. */
  readonly newNetwork?: boolean | undefined;
  /** Whether the hub makes an invitation for others when it is up. */
  readonly invite: boolean;
  readonly node?: NodePlan | undefined;
  /** Who may look from now on; as it was if not given. */
  readonly operators?: string | false | undefined;
  /** Nothing is started: the node that runs is told where its hub is. */
  readonly readdress?: Token | undefined;
}

export type NodePlan =
  /** Becomes a member: by the token, or without one of the hub that starts with it. */
  | {
      readonly kind: 'join';
      readonly token?: Token | undefined;
      /** Its host name if not given. */
      readonly name?: string | undefined;
      readonly shares: readonly string[];
      /** The first that is free if not given. */
      readonly device?: string | undefined;
    }
  /** Is a member, and from now on as given. */
  | {
      readonly kind: 'resume';
      readonly shares?: readonly string[] | undefined;
      readonly device?: string | undefined;
      /** Of its hub. */
      readonly addresses?: readonly HubAddress[] | undefined;
    };

const HUB_PORT = 443;
const DEFAULT_MTU = 1280;

/** @throws LametunError with the option that cannot take effect, why, and what does that */
export function decide(command: StartCommand, given: Given, situation: Situation): Plan {
  const { state, process } = situation;
  if (given.detach && given.install)
    throw usage('--detach and --install are two ways to the background: give one of them');
  if (process !== undefined) {
    if (command === 'join' && isMemberBy(given.token, situation))
      return readdressed(given, situation.member!);
    if (command === 'join' && situation.hub === undefined && situation.member !== undefined)
      joinedNode(given, situation); // a token of another network, or none
    throw busy(state, process);
  }
  const { operators } = given;
  return { ...started(command, given, situation), ...(operators !== undefined && { operators }) };
}

function started(command: StartCommand, given: Given, situation: Situation): Plan {
  switch (command) {
    case 'serve':
      return {
        ...{ hub: hubPlan(given, situation), ...anew(given) },
        ...{ invite: true, node: servedNode(given, situation) },
      };
    case 'hub':
      if (situation.hub !== undefined && situation.member !== undefined)
        throw usage(
          `this machine is also ${nameOf(situation.member)}: \`lametun up\` starts hub and member, \`lametun leave\` ends the membership`,
        );
      return { hub: hubPlan(given, situation), ...anew(given), invite: false };
    case 'join':
      return { invite: false, node: joinedNode(given, situation) };
    case 'up':
      return resumed(given, situation);
  }
}

function hubPlan(given: Given, { hub: before, member }: Situation): HubSettings {
  if (before === undefined && member !== undefined)
    throw usage(
      `this machine is ${nameOf(member)}, whose hub is elsewhere: --state DIR keeps another network, \`lametun leave\` ends this one`,
    );
  if (before !== undefined && given.newNetwork !== true) checkUnchanged(given, before);
  const { network, port, public: addresses, database, key, ask, mtu, range } = given;
  return {
    port: port ?? before?.port ?? HUB_PORT,
    public: addresses ?? before?.public ?? [],
    database: database ?? before?.database,
    key: key ?? before?.key,
    ask: ask ?? before?.ask,
    network,
    mtu,
    range,
  };
}

const anew = ({ newNetwork }: Given): Pick<Plan, 'newNetwork'> => (newNetwork === true ? { newNetwork } : {});

function checkUnchanged(given: Given, { network = 'home', mtu = DEFAULT_MTU, range }: HubSettings): void {
  const problem = contradiction(given, { name: network, ipv4: range, mtu });
  if (problem !== undefined) throw usage(problem);
}

function servedNode(given: Given, { member }: Situation): NodePlan {
  if (member !== undefined && given.newNetwork !== true) return { kind: 'resume', ...changes(given, member) };
  return { kind: 'join', name: given.name, shares: given.share ?? [], device: given.interface };
}

function joinedNode(given: Given, { state, hub, member }: Situation): NodePlan {
  const { token } = given;
  if (hub !== undefined)
    throw usage(
      `${state} holds the hub of ${hub.network ?? 'home'}: \`lametun up\` starts it, and --state DIR joins another network`,
    );
  if (token === undefined)
    throw usage(
      member === undefined
        ? 'this machine is in no network yet: lametun join TOKEN, and `lametun invite` on the hub makes one'
        : `a token is missing: this machine is ${nameOf(member)} already, and \`lametun up\` starts it`,
    );
  if (member === undefined)
    return { kind: 'join', token, name: given.name, shares: given.share ?? [], device: given.interface };
  if (!isOfHub(token, member))
    throw usage(
      `this machine is ${nameOf(member)} already, and the token is another network's: \`lametun leave\` ends that, and --state DIR keeps several`,
    );
  return { kind: 'resume', ...changes(given, member), addresses: token.addresses };
}

const isOfHub = (token: Token, { hub }: StoredNode): boolean =>
  hub.key === Buffer.from(token.hub).toString('base64');

const isMemberBy = (token: Token | undefined, { hub, member }: Situation): boolean =>
  token !== undefined && hub === undefined && member !== undefined && isOfHub(token, member);

/** A token of its own network tells a node that runs where its hub is, and nothing else. */
function readdressed(given: Given, member: StoredNode): Plan {
  const { share, interface: device, install, operators } = given;
  if (share !== undefined)
    throw usage(`--share: ${nameOf(member)} runs: change this by \`lametun share ${share.join(' ')}\``);
  const option =
    device !== undefined
      ? '--interface'
      : operators !== undefined
        ? '--operators'
        : install
          ? '--install'
          : undefined;
  if (option !== undefined) throw usage(`${option}: ${nameOf(member)} runs: \`lametun down\` stops it first`);
  changes(given, member);
  return { invite: false, readdress: given.token };
}

function resumed(given: Given, { state, hub, member }: Situation): Plan {
  if (hub === undefined && member === undefined)
    throw usage(`${state} holds no network: begin with \`lametun serve\` or \`lametun join TOKEN\``);
  if (member === undefined && given.interface !== undefined)
    throw usage(
      `--interface ${given.interface}: ${state} holds a hub and no member, which has no interface: leave --interface out`,
    );
  return {
    hub: hub && { ...hub, network: undefined, mtu: undefined, range: undefined },
    invite: false,
    node: member && { kind: 'resume', ...changes(given, member) },
  };
}

/** What a member can change by itself. What it is called is for administrators. */
function changes(
  { name, share, interface: device }: Given,
  { you, network }: StoredNode,
): { readonly shares?: readonly string[]; readonly device?: string } {
  if (name !== undefined && name !== you.name)
    throw usage(
      `--name ${name}: this machine is called ${you.name} in the network ${network.name}: an administrator renames it by \`lametun rename ${you.name} ${name}\``,
    );
  return { ...(share && { shares: share }), ...(device !== undefined && { device }) };
}

/**
 * How a machine leaves its network: the process that runs is asked, or the hub is told by this one.
 *
 * @throws LametunError when there is nothing to leave, or the hub is here and does not run
 */
export function decideLeave(force: boolean, { state, member, hub, process }: Situation): 'ask' | 'here' {
  if (member === undefined)
    throw usage(
      hub === undefined
        ? `${state} holds no network: there is nothing to leave`
        : 'this machine is a hub and no member: there is nothing to leave',
    );
  if (process !== undefined) return 'ask';
  if (hub === undefined || force) return 'here';
  throw new LametunError(
    'unreachable',
    `the hub of ${member.network.name} is on this machine and does not run: \`lametun up --detach${optionFor(state)}\` first, or leave with --force`,
  );
}

const nameOf = ({ you, network }: StoredNode): string => `${you.name} of the network ${network.name}`;

const usage = (message: string): LametunError => new LametunError('usage', message);

const busy = (state: string, process: number): LametunError =>
  new LametunError(
    'busy',
    `${state} is in use by ${process === 0 ? 'another process' : `process ${process}`}: \`lametun down${optionFor(state)}\` stops it first`,
  );

/** `--state` as it is to be typed, with a space before it. */
export const optionFor = (state: string): string => (state === DEFAULT_STATE ? '' : ` --state ${state}`);

import { LametunError, usage } from '../../errors.js';
import { contradiction } from '../../hub/fixed-settings.js';
import type { StoredNode } from '../../node/machine/stored.js';
import type { HubAddress, Token } from '../../protocol/token.js';
import type { HubSettings } from './hub-settings.js';
import { DEFAULT_STATE } from './options.js';

/*
 * What a start command does, by its options and the content of the state directory. Each option takes effect or is refused
 * here, before anything is changed. No I/O.
 */

export type StartCommand = 'serve' | 'join' | 'hub' | 'up';

/** The content of a state directory, and whether a process uses it. */
export interface Situation {
  readonly state: string;
  readonly member?: StoredNode | undefined;
  /** The options of its hub. */
  readonly hub?: HubSettings | undefined;
  /** The process that uses it; 0 if unknown. */
  readonly process?: number | undefined;
}

/** The parsed options, those of a hub among them. Options that were not given are undefined. */
export interface Given extends Partial<Undefinable<HubSettings>> {
  readonly detach?: boolean | undefined;
  readonly install?: boolean | undefined;
  readonly interface?: string | undefined;
  /** A local group that may ask for the status; false for none. */
  readonly operators?: string | false | undefined;
  readonly token?: Token | undefined;
  readonly name?: string | undefined;
  readonly share?: readonly string[] | undefined;
  readonly newNetwork?: boolean | undefined;
}

type Undefinable<T> = { readonly [K in keyof T]: T[K] | undefined };

/** What to run. */
export interface Plan {
  readonly hub?: HubSettings | undefined;
  /** Whether the hub starts another network. The old one is set aside together with its member. */
  readonly newNetwork?: boolean | undefined;
  /** Whether the hub makes an invitation once it is up. */
  readonly invite: boolean;
  readonly node?: NodePlan | undefined;
  /** The operators from now on; unchanged if not given. */
  readonly operators?: string | false | undefined;
  /** Starts nothing: tells the running node where its hub is. */
  readonly readdress?: Token | undefined;
}

export type NodePlan =
  /** Joins with the token; without a token, joins the hub that starts with it. */
  | {
      readonly kind: 'join';
      readonly token?: Token | undefined;
      /** Default: the host name. */
      readonly name?: string | undefined;
      readonly shares: readonly string[];
      /** Default: the first free one. */
      readonly interface?: string | undefined;
    }
  /** Starts a member again, with these changes. */
  | {
      readonly kind: 'resume';
      readonly shares?: readonly string[] | undefined;
      readonly interface?: string | undefined;
      /** The hub's addresses. */
      readonly addresses?: readonly HubAddress[] | undefined;
    };

const HUB_PORT = 443;
const DEFAULT_MTU = 1280;

/** @throws LametunError with the option that cannot take effect, the reason, and what to do instead */
export function decide(command: StartCommand, given: Given, situation: Situation): Plan {
  const { state, process } = situation;
  if (given.detach && given.install)
    throw usage('--detach and --install contradict each other: give one of them');
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
          `this machine is also ${nameOf(situation.member)}: run \`lametun up${optionFor(situation.state)}\` to start both, or \`lametun leave${optionFor(situation.state)}\` to end the membership`,
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
      `this machine is already ${nameOf(member)}, whose hub is elsewhere: pass --state DIR for another network, or run \`lametun leave\``,
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
  return { kind: 'join', name: given.name, shares: given.share ?? [], interface: given.interface };
}

function joinedNode(given: Given, { state, hub, member }: Situation): NodePlan {
  const { token } = given;
  if (hub !== undefined)
    throw usage(
      `${state} contains the hub of ${hub.network ?? 'home'}: run \`lametun up${optionFor(state)}\` to start it, or pass --state DIR to join another network`,
    );
  if (token === undefined)
    throw usage(
      member === undefined
        ? 'no token given: run `lametun join TOKEN`; `lametun invite` on the hub makes a token'
        : `no token given, and this machine is already ${nameOf(member)}: run \`lametun up${optionFor(state)}\` to start it`,
    );
  if (member === undefined)
    return { kind: 'join', token, name: given.name, shares: given.share ?? [], interface: given.interface };
  if (!isOfHub(token, member))
    throw usage(
      `this machine is already ${nameOf(member)}, and the token is for another network: run \`lametun leave\`, or pass --state DIR`,
    );
  return { kind: 'resume', ...changes(given, member), addresses: token.addresses };
}

const isOfHub = (token: Token, { hub }: StoredNode): boolean =>
  hub.key === Buffer.from(token.hub).toString('base64');

const isMemberBy = (token: Token | undefined, { hub, member }: Situation): boolean =>
  token !== undefined && hub === undefined && member !== undefined && isOfHub(token, member);

/** A token of its own network only tells a running node where its hub is. */
function readdressed(given: Given, member: StoredNode): Plan {
  const { share, install, operators } = given;
  if (share !== undefined)
    throw usage(`--share does not change a running node: run \`lametun share ${share.join(' ')}\``);
  const option =
    given.interface !== undefined
      ? '--interface'
      : operators !== undefined
        ? '--operators'
        : install
          ? '--install'
          : undefined;
  if (option !== undefined)
    throw usage(`${option} does not change a running node: run \`lametun down\` first`);
  changes(given, member);
  return { invite: false, readdress: given.token };
}

function resumed(given: Given, { state, hub, member }: Situation): Plan {
  if (hub === undefined && member === undefined)
    throw usage(
      `${state} contains no network: run \`lametun serve${optionFor(state)}\` or \`lametun join${optionFor(state)} TOKEN\``,
    );
  if (member === undefined && given.interface !== undefined)
    throw usage(
      `--interface ${given.interface}: ${state} contains a hub and no member, so there is no interface: leave --interface out`,
    );
  return {
    hub: hub && { ...hub, network: undefined, mtu: undefined, range: undefined },
    invite: false,
    node: member && { kind: 'resume', ...changes(given, member) },
  };
}

/** What a member can change itself. Only administrators change its name. */
function changes(
  { name, share, interface: chosen }: Given,
  { you, network }: StoredNode,
): { readonly shares?: readonly string[]; readonly interface?: string } {
  if (name !== undefined && name !== you.name)
    throw usage(
      `--name ${name}: this node is already called ${you.name} in network ${network.name}: an administrator can run \`lametun rename ${you.name} ${name}\``,
    );
  return { ...(share && { shares: share }), ...(chosen !== undefined && { interface: chosen }) };
}

/**
 * How a machine leaves its network: by asking the running process, or by telling the hub itself.
 *
 * @throws LametunError when there is nothing to leave, or the hub is here and not running
 */
export function decideLeave(force: boolean, { state, member, hub, process }: Situation): 'ask' | 'here' {
  if (member === undefined)
    throw usage(
      hub === undefined
        ? `${state} contains no network: there is nothing to leave`
        : 'this machine is a hub and not a member: there is nothing to leave',
    );
  if (process !== undefined) return 'ask';
  if (hub === undefined || force) return 'here';
  throw new LametunError(
    'unreachable',
    `the hub of ${member.network.name} is on this machine and not running: run \`lametun up --detach${optionFor(state)}\` first, or leave with --force`,
  );
}

const nameOf = ({ you, network }: StoredNode): string => `node ${you.name} of network ${network.name}`;

const busy = (state: string, process: number): LametunError =>
  new LametunError(
    'busy',
    `${state} is in use by ${process === 0 ? 'another process' : `process ${process}`}: run \`lametun down${optionFor(state)}\` first`,
  );

/** `--state` as one types it, with a space in front. */
export const optionFor = (state: string): string => (state === DEFAULT_STATE ? '' : ` --state ${state}`);

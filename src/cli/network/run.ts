import { setTimeout as sleep } from 'node:timers/promises';
import { LametunError, usage } from '../../errors.js';
import type { RunningHub } from '../../hub/start.js';
import { ServiceManager } from '../../linux/service/service-manager.js';
import { feedWatchdog } from '../../linux/service/watchdog.js';
import type { ControlHandler } from '../../node/control/control-connection.js';
import { serveControl } from '../../node/control/control-server.js';
import { removeOperatorSocket, serveOperators } from '../../node/control/operator-socket.js';
import type { NodeEnd, RunningNode } from '../../node/control/running-node.js';
import type { StoredNode } from '../../node/machine/stored.js';
import { StateDirectory } from '../../node/shell/state.js';
import type { AdminAnswers } from '../../protocol/messages.js';
import { type HubAddress, parseToken, type Token } from '../../protocol/token.js';
import { UndoStack } from '../../undo.js';
import { packageVersion } from '../package-version.js';
import { abortOnSignals } from '../signals.js';
import { changes, firstLines } from './changes.js';
import { Console } from './console.js';
import { type NodePlan, optionFor, type Plan } from './decide.js';
import { isDetached, tellReady } from './detach.js';
import { controlHandler } from './handler.js';
import { type HubSettings, hasHub, readHubSettings, writeHubSettings } from './hub-settings.js';
import { checkNewNames } from './new-names.js';
import { operatorsOf, writeOperators } from './operators.js';
import { ownLabel } from './options.js';
import { withOwnHub } from './own-hub.js';
import { startText } from './start-text.js';
import { hubLine, statusLine } from './status-text.js';

export interface RunOptions {
  readonly json: boolean;
  readonly verbose: boolean;
  /** End once it is up: systemd takes over. */
  readonly once: boolean;
}

/** 128 plus the number of SIGINT, as in shells. */
const INTERRUPTED = 130;
/** How often the foreground checks for changes, milliseconds. */
const LOOK_INTERVAL = 1000;
/** How long the invitation of `serve` is valid, seconds; and the one with which it joins its own network. */
const INVITATION = 86_400;
const OWN_INVITATION = 60;
/** How long to wait until the hub's answer reaches the node on its own machine, milliseconds. */
const OWN_PATIENCE = 2_000;
const OWN_LOOK = 10;
/** How long `--detach` and `--install` wait for the hub, milliseconds. */
const HUB_PATIENCE = 3_000;
const HUB_LOOK = 50; // each check makes a whole status

/**
 * Runs a hub, a node or both until a signal, or until the node is no longer a member, and undoes what it set up.
 *
 * @returns the exit status; after a signal before it was up, that of a shell
 * @throws LametunError when it could not start, or cannot continue
 */
export async function run(state: string, plan: Plan, options: RunOptions): Promise<number> {
  const output = new Console(options.json);
  const stop = new AbortController();
  abortOnSignals(stop);
  process.on('SIGUSR1', () => {}); // Node.js would open its debugger to every local user
  const running = new Run(state, plan, output, options, stop.signal);
  // A bug ends it too, but only after everything is undone.
  const defect = new Promise<never>((_, reject) => process.on('uncaughtException', reject));
  defect.catch(() => {}); // it may reject while nothing is awaited
  try {
    await Promise.race([running.start(), defect]);
    if (options.once) return 0;
    running.tellManager();
    const end = await Promise.race([running.ended(), defect]);
    const failure = end && failureOf(end);
    if (failure === undefined) return 0;
    throw failure;
  } catch (error) {
    if (stop.signal.aborted && !running.isUp) return INTERRUPTED; // a step was aborted
    output.ended(error);
    throw error;
  } finally {
    output.close();
    await running.close();
  }
}

/** @returns undefined for an end on purpose */
function failureOf({ reason, message }: NodeEnd): LametunError | undefined {
  if (reason === 'left' || reason === 'closed') return undefined;
  return new LametunError(reason === 'removed' ? 'refused' : 'device-gone', message);
}

/** Whether the node is no longer a member. */
const isNoMember = ({ reason }: NodeEnd): boolean => reason === 'left' || reason === 'removed';

class Run {
  readonly #path: string;
  readonly #plan: Plan;
  readonly #output: Console;
  readonly #verbose: boolean;
  readonly #once: boolean;
  readonly #signal: AbortSignal;
  readonly #undo = new UndoStack();
  readonly #manager = new ServiceManager();
  isUp = false;
  #hub: RunningHub | undefined;
  #node: RunningNode | undefined;

  constructor(path: string, plan: Plan, output: Console, options: RunOptions, signal: AbortSignal) {
    this.#path = path;
    this.#plan = plan;
    this.#output = output;
    this.#verbose = options.verbose;
    this.#once = options.once;
    this.#signal = signal;
  }

  async start(): Promise<void> {
    const path = this.#path;
    const before = hasHub(path) ? readHubSettings(path).public : [];
    await checkNewNames(this.#plan.hub?.public ?? [], before);
    const state = StateDirectory.open(path, packageVersion());
    this.#undo.push(() => state.close());
    const { node } = this.#plan;
    const change = node && (await this.#prepare(state, node));
    if (this.#plan.hub !== undefined) await this.#startHub(this.#plan.hub, state);
    if (node !== undefined) await this.#startNode(state, node, change);
    if (this.#node !== undefined && (this.#once || isDetached())) await this.#confirmed(this.#node);
    if (this.#hub !== undefined && this.#node !== undefined)
      this.#node = withOwnHub(this.#node, this.#hub, optionFor(path));
    const handler = controlHandler(this.#hub, () => this.#node);
    const control = await serveControl(path, handler, packageVersion());
    this.#undo.push(() => control.close());
    this.#admitOperators(handler);
    this.isUp = true;
    await this.#announce();
    this.#watch();
  }

  /** Tells the service manager that the start is complete, and from then on that this process works. */
  tellManager(): void {
    this.#manager.ready();
    const feeding = feedWatchdog(this.#manager);
    this.#undo.push(() => feeding.close());
  }

  /** @returns how the node ended; undefined after a signal */
  async ended(): Promise<NodeEnd | undefined> {
    const stopped = new Promise<undefined>((resolve) => {
      if (this.#signal.aborted) resolve(undefined);
      else this.#signal.addEventListener('abort', () => resolve(undefined));
    });
    const never = new Promise<never>(() => {});
    const hubEnded = this.#hub?.ended.then(() => undefined);
    return Promise.race([stopped, hubEnded ?? never, this.#nodeEnded() ?? never]);
  }

  /** A hub keeps running when the node on its machine leaves or is removed. */
  #nodeEnded(): Promise<NodeEnd> | undefined {
    return this.#node?.ended.then((end) => {
      if (this.#hub === undefined || !isNoMember(end)) return end;
      this.#node = undefined;
      this.#hub.setHost(undefined);
      this.#output.note(`${end.message}; the hub keeps running`);
      return new Promise<never>(() => {});
    });
  }

  close(): Promise<void> {
    this.#manager.stopping();
    return this.#undo.undo();
  }

  get #log() {
    return this.#output.log(this.#verbose);
  }

  async #startHub(settings: HubSettings, own: StateDirectory): Promise<void> {
    const { startHub } = await import('../../hub/start.js');
    const { key, ...others } = settings;
    const hub = await startHub({
      ...{ ...others, state: this.#path, keyFile: key },
      ...{ existing: hasHub(this.#path), newNetwork: this.#plan.newNetwork },
      ...{ log: this.#log, program: packageVersion(), signal: this.#signal },
    });
    this.#undo.push(() => hub.close());
    this.#hub = hub;
    if (hub.replaced !== undefined) this.#setAside(hub.replaced, own);
    const { name, mtu, ipv4: range } = hub.network;
    writeHubSettings(this.#path, { ...settings, network: name, mtu, range });
  }

  /** Sets this machine's node aside together with its network. */
  #setAside(directory: string, state: StateDirectory): void {
    if (state.read('node') !== undefined) state.setNodeAside('replaced', directory);
    this.#output.note(`started another network; the old one is kept in ${directory}`);
  }

  /**
   * Refuses what can be refused about a node before its hub starts, and before anything is written.
   *
   * @returns the stored node with its changes
   */
  async #prepare(state: StateDirectory, plan: NodePlan): Promise<StoredNode | undefined> {
    const { freeInterface } = await import('../../node/shell/node.js');
    const { checkRange, checkShares } = await import('../../node/shell/local-routing.js');
    const stored = this.#plan.newNetwork === true ? undefined : state.read('node');
    if ((plan.kind === 'join') !== (stored === undefined))
      throw new LametunError('busy', `another process has just changed ${this.#path}: try again`);
    const name = plan.interface ?? stored?.interface ?? freeInterface();
    const { shares = [] } = plan;
    const range = this.#plan.hub?.range;
    if (stored !== undefined) {
      checkShares(name, shares, [stored.network.ipv4, stored.network.ipv6]);
      return { ...stored, interface: name, shares: plan.shares ?? stored.shares };
    }
    checkShares(name, shares, range === undefined ? [] : [range]);
    if (range !== undefined) checkRange(name, range);
    return undefined;
  }

  async #startNode(state: StateDirectory, plan: NodePlan, changed: StoredNode | undefined): Promise<void> {
    const { freeInterface, startNode } = await import('../../node/shell/node.js');
    const common = { state, log: this.#log, program: packageVersion(), signal: this.#signal };
    if (changed !== undefined) {
      this.#checkHub(changed);
      state.write('node', changed);
      const hubAddresses = this.#hubAddresses(plan);
      this.#node = await startNode({ ...common, hubAddresses });
    } else if (plan.kind === 'join') {
      const { shares, name = ownLabel() } = plan;
      const token = plan.token ?? (await this.#ownToken(shares));
      this.#node = await startNode({
        ...common,
        join: { token, name, shares, interface: plan.interface ?? freeInterface() },
      });
    }
    const node = this.#node!;
    this.#undo.push(() => node.close());
    this.#hub?.setHost(node.status().self.key);
    await this.#approveOwn(node, plan.shares);
  }

  /**
   * Waits until the hub has confirmed the membership, because nobody checks again after `--detach`. Does not wait for a hub
   * that is unreachable.
   *
   * @throws LametunError when the node has ended
   */
  async #confirmed(node: RunningNode): Promise<void> {
    let end: NodeEnd | undefined;
    void node.ended.then((ended) => {
      end = ended;
    });
    const latest = performance.now() + HUB_PATIENCE;
    const isAsking = (): boolean =>
      performance.now() < latest && node.status().hub.state === 'connecting' && !this.#signal.aborted;
    while (end === undefined && (node.isEnding || isAsking())) await sleep(HUB_LOOK);
    if (this.#signal.aborted) throw new LametunError('unreachable', 'stopped before the hub answered');
    if (end === undefined || (this.#hub !== undefined && isNoMember(end))) return;
    const failure = failureOf(end);
    if (failure !== undefined) throw failure;
  }

  /** Approves the hub's own machine and its shares: whoever starts a hub administers it. */
  async #approveOwn(node: RunningNode, shares: readonly string[] | undefined): Promise<void> {
    const hub = this.#hub;
    if (hub === undefined || shares === undefined) return;
    const { id, pending } = node.status().self;
    const waits = (): boolean =>
      node.status().self.pending || node.status().shares.some(({ state }) => state === 'pending');
    const isOffered = (): boolean =>
      pending || shares.every((share) => node.status().shares.some(({ network }) => network === share));
    for (let i = 0; i < OWN_PATIENCE / OWN_LOOK && !isOffered(); i++) await sleep(OWN_LOOK);
    if (!waits()) return;
    await hub.administer({ op: 'approve', node: String(id), shares });
    for (let i = 0; i < OWN_PATIENCE / OWN_LOOK && waits(); i++) await sleep(OWN_LOOK);
  }

  /** The addresses of a member's hub: this machine, or those of a new token. */
  #hubAddresses(plan: NodePlan): readonly HubAddress[] | undefined {
    if (this.#hub !== undefined) return [{ host: '127.0.0.1', port: this.#hub.port, tls: false }];
    return plan.kind === 'resume' ? plan.addresses : undefined;
  }

  /** @throws LametunError when this machine is a member of another hub than the one here */
  #checkHub({ hub, you, network }: StoredNode): void {
    const key = this.#hub && Buffer.from(this.#hub.publicKey).toString('base64');
    if (key === undefined || key === hub.key) return;
    throw usage(
      `this machine is already node ${you.name} of network ${network.name}, whose hub has another key than this one: run \`lametun leave\`, or pass --state DIR`,
    );
  }

  /** The hub's own machine joins over loopback, which works whatever its outer addresses are. */
  async #ownToken(shares: readonly string[]): Promise<Token> {
    const hub = this.#hub!;
    const { token } = await invite(hub, { expires: OWN_INVITATION, admin: true, shares });
    const { hub: key, secret } = parseToken(token);
    return { hub: key, secret, addresses: [{ host: '127.0.0.1', port: hub.port, tls: false }] };
  }

  /** A stored group whose socket cannot be made is only reported; a new one is refused. */
  #admitOperators(handler: ControlHandler): void {
    const path = this.#path;
    const given = this.#plan.operators;
    removeOperatorSocket(path); // a killed process may have left it
    const operators = operatorsOf(path, given);
    if (typeof operators === 'object') {
      try {
        const server = serveOperators(path, operators, handler, packageVersion());
        this.#undo.push(() => server.close());
        this.#output.note(
          `Members of the group ${operators.name} may use \`lametun status\`, \`ping\` and \`nodes\``,
        );
      } catch (error) {
        if (given !== undefined) throw error;
        this.#output.note((error as Error).message);
      }
    } else if (operators !== undefined) this.#output.note(operators);
    writeOperators(path, given);
  }

  async #announce(): Promise<void> {
    const hub = this.#hub;
    const invitation = hub && this.#plan.invite ? await invite(hub, { expires: INVITATION }) : undefined;
    const outside = hub === undefined ? [] : await this.#outside(hub.port);
    const up = hub && { network: hub.network.name, port: hub.port, outside, invitation };
    const node = this.#node?.status();
    this.#output.say(startText(up, node, Date.now(), optionFor(this.#path)), {
      event: 'up',
      ...(up && { hub: up }),
      ...(up?.invitation && { command: `lametun join ${up.invitation.token}` }),
      ...(node && { node }),
    });
    if (!isDetached()) return;
    tellReady();
    this.#output.toFile(`${this.#path}/lametun.log`);
  }

  async #outside(port: number): Promise<readonly HubAddress[]> {
    const { parsePublic } = await import('../../hub/server/public-addresses.js');
    return (this.#plan.hub?.public ?? []).map((text) => parsePublic(text, port));
  }

  /** Prints changes of the node, and keeps the status lines of the terminal and of the service manager. */
  #watch(): void {
    let last = this.#node?.status();
    for (const line of last === undefined ? [] : firstLines(last, this.#hub !== undefined))
      this.#output.note(line);
    const show = (): void => {
      this.#output.status(last === undefined ? '' : statusLine(last));
      const hub = this.#hub && hubLine(this.#hub.network.name, this.#hub.port, this.#hub.status());
      this.#manager.status([hub, last && statusLine(last)].filter((line) => line !== undefined).join(' · '));
    };
    show();
    const watching = setInterval(() => {
      const now = this.#node?.status();
      if (last !== undefined && now !== undefined)
        for (const line of changes(last, now)) this.#output.note(line);
      last = now;
      show();
    }, LOOK_INTERVAL);
    this.#undo.push(() => clearInterval(watching));
  }
}

async function invite(
  hub: RunningHub,
  { expires, admin = false, shares = [] }: { expires: number; admin?: boolean; shares?: readonly string[] },
): Promise<AdminAnswers['invite']> {
  const answer = await hub.administer({ op: 'invite', expires, reusable: false, admin, shares });
  return answer as AdminAnswers['invite'];
}

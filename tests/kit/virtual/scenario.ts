import assert from 'node:assert/strict';
import type { NatKind } from '../nat-model.js';
import { FAULTS, type Fault } from './faults.js';
import type { NodeHost } from './node-host.js';
import { type Happening, World } from './world.js';

export type { Happening };

/** Milliseconds. */
const TIMES = {
  /** All nodes begin to join within this time, and are members after `joined`. */
  joining: 2_000,
  joined: 9_000,
  /** In this time faults begin. */
  faults: 25_000,
  /** From the last fault's end, the network is as it should be after this time. */
  convergence: 75_000,
  /** For so long after that it is watched. */
  watched: 12_000,
  /** A removed member is no peer of any connected one after this time. */
  cutOff: 3_000,
  /** So often it is checked meanwhile that it is connected. */
  cutOffCheck: 250,
} as const;

export interface ScenarioOptions {
  readonly seed: number;
  readonly nodes: number;
  /** The one thing that happens; several at once, or one of them, if not given. */
  readonly fault?: string | undefined;
}

/** From the first packet to a direct path at most, milliseconds. */
const PATH_TIME = TIMES.joined - TIMES.joining - 500;

/** Members that begin to talk when they have just joined. */
const TALKS = 3;
/** By two machines with one key in a minute. */
const MOST_CONNECTS = 12;

/** Two members that talk: one sends a packet each second, the other answers. */
interface Talk {
  readonly from: NodeHost;
  readonly to: NodeHost;
  /** When each packet was sent, by sequence. */
  readonly sent: Map<number, number>;
}

/**
 * A network from its first member to its end: nodes join, things go wrong, all is healed, and then it must be as it should.
 */
export class Scenario {
  readonly world: World;
  /** What does not hold. */
  readonly violations: string[] = [];
  /** After how many milliseconds the last lost packet was sent, where one thing alone happened. */
  recovered = 0;
  readonly #options: ScenarioOptions;
  /** What ends the faults that last. */
  readonly #cures: (() => void)[] = [];
  /** The one thing that happens, and when it was over. */
  #single: Fault | undefined;
  #overAt = Number.POSITIVE_INFINITY;
  /** What the hub has acknowledged, and how to see whether it still knows. */
  readonly #acknowledged = new Map<string, () => Promise<boolean>>();
  readonly #talks: Talk[] = [];
  readonly #gone = new Set<NodeHost>();
  readonly #mayHaveLeft = new Set<NodeHost>();
  #isQuiet = false;

  constructor(options: ScenarioOptions) {
    this.#options = options;
    const isAsking = options.seed % 10 === 3;
    this.world = new World(options.seed, { ask: isAsking });
  }

  async run(): Promise<void> {
    const { world } = this;
    const { random, agenda } = world;
    await world.start();
    for (let i = 0; i < this.#options.nodes; i++) {
      const isNeighbour = i > 0 && random.chance(0.25);
      const node = world.node(isNeighbour ? random.pick(world.sites) : world.site(), []);
      agenda.after(random.below(TIMES.joining), () => world.join(node));
    }
    this.#approveOften();
    for (let i = 0; i < TALKS; i++) agenda.after(TIMES.joining + random.below(500), () => this.#talk());
    await world.runFor(TIMES.joined);
    this.#checkFirstPaths();
    const names = Object.keys(FAULTS);
    const isAlone = this.#options.fault !== undefined || this.#options.seed % 2 === 0;
    if (isAlone) {
      const name = this.#options.fault ?? names[(this.#options.seed / 2) % names.length]!;
      this.#single = FAULTS[name];
      agenda.after(random.below(TIMES.faults / 2), () => FAULTS[name]!.act(this));
    } else {
      const several = names.filter((name) => FAULTS[name]!.isAlone !== true);
      for (let i = 2 + random.below(5); i > 0; i--) {
        const name = random.pick(several);
        agenda.after(random.below(TIMES.faults), () => FAULTS[name]!.act(this));
      }
    }
    await world.runFor(TIMES.faults);
    this.#heal();
    await world.runFor(this.#single?.convergence ?? TIMES.convergence);
    await this.#check();
  }

  /** Something lasts for some time, or until everything is healed. */
  last(milliseconds: number, end: () => void): void {
    let isOver = false;
    const finish = (): void => {
      if (isOver) return;
      isOver = true;
      end();
      this.over();
    };
    this.world.agenda.after(milliseconds, finish);
    this.#cures.push(finish);
  }

  /** What happened is over, and its consequences are not. */
  over(): void {
    this.#overAt = this.world.agenda.now;
  }

  /** A member that runs, if there is one: most often one that talks, for then it shows. */
  someMember(): NodeHost | undefined {
    const { random } = this.world;
    const running = this.#members().filter((node) => node.isRunning && !node.host.isDown);
    const talking = running.filter((node) =>
      this.#talks.some(({ from, to }) => from === node || to === node),
    );
    if (running.length < 3) return undefined;
    return random.pick(talking.length > 0 && random.chance(0.7) ? talking : running);
  }

  restart(node: NodeHost): void {
    if (!this.#isGone(node) && !node.isRunning) node.start();
  }

  joinLate(): void {
    const { world } = this;
    const node = world.node(world.site());
    world.tell(`${node.name} begins to join`);
    world.join(node);
  }

  // What administrators and users do. Where the hub is away it does not happen.

  async remove(node: NodeHost): Promise<void> {
    const { world } = this;
    const { id } = node;
    if (!(await this.#administered(() => world.hub.administer({ op: 'remove', node: `${id}` })))) return;
    world.tell(`${node.name} is removed`);
    this.#gone.add(node);
    this.#acknowledge(`${node.name} is removed`, async () => (await this.#stateOf(id)) === 'removed');
    this.#watchCutOff(node, id!);
  }

  /** Members that hear from the hub all the time drop a removed one. */
  #watchCutOff(node: NodeHost, id: number): void {
    const { agenda } = this.world;
    const end = agenda.now + TIMES.cutOff;
    const connects = new Map(this.#members().map((other) => [other, other.connects]));
    const watch = (): void => {
      for (const [other, before] of connects)
        if (!other.isAttached || other.connects !== before || !this.#isReachable(other))
          connects.delete(other);
      if (agenda.now < end) {
        agenda.after(TIMES.cutOffCheck, watch);
        return;
      }
      for (const other of connects.keys())
        if (other.interface.peers.has(id))
          this.#violate(
            `${node.name} is still a peer of ${other.name}, ${TIMES.cutOff} ms after it was removed`,
          );
    };
    watch();
  }

  async leave(node: NodeHost): Promise<void> {
    const { id } = node;
    try {
      await node.leave();
    } catch {
      this.#mayHaveLeft.add(node); // or the answer was lost
      return;
    }
    this.world.tell(`${node.name} has left`);
    this.#gone.add(node);
    node.kill();
    this.#acknowledge(`${node.name} has left`, async () => (await this.#stateOf(id)) === 'removed');
  }

  async rename(node: NodeHost): Promise<void> {
    const { world } = this;
    const name = `${node.name}-${world.random.below(1_000)}`;
    const { id } = node;
    if (!(await this.#administered(() => world.hub.administer({ op: 'rename', node: `${id}`, name }))))
      return;
    world.tell(`${node.name} is called ${name}`);
    this.#acknowledge(`the name of ${node.name}`, async () => {
      const row = await this.#row(id);
      return row?.state === 'removed' || row?.name === name;
    });
  }

  /** Two members get each other's names; the others hear of both at once. */
  async swapNames(one: NodeHost, other: NodeHost): Promise<void> {
    const { hub, random } = this.world;
    hub.stir();
    const [first, second] = [(await this.#row(one.id))?.name, (await this.#row(other.id))?.name];
    if (first === undefined || second === undefined) return;
    const renamings = [
      [one, `${first}-${random.below(1_000)}`],
      [other, first],
      [one, second],
    ] as const;
    for (const [{ id }, name] of renamings)
      if (!(await this.#administered(() => hub.administer({ op: 'rename', node: `${id}`, name })))) return;
    this.world.tell(`${one.name} and ${other.name} swap their names`);
    for (const [node] of renamings) this.#acknowledged.delete(`the name of ${node.name}`);
  }

  async share(node: NodeHost): Promise<void> {
    const { world } = this;
    const share = `10.${100 + (node.id! % 100)}.0.0/16`;
    const { id } = node;
    try {
      await node.share([share]);
    } catch {
      return;
    }
    world.tell(`${node.name} offers ${share}`);
    this.#acknowledge(`what ${node.name} offers`, async () => {
      const rows = await world.hub.store.read((tables) => tables.shares([id!]));
      return this.#isGone(node) || rows.some(({ network }) => network === share);
    });
    if (await this.#administered(() => world.hub.administer({ op: 'approve', node: `${id}` })))
      this.#acknowledge(`that ${node.name} shares`, async () => {
        const rows = await world.hub.store.read((tables) => tables.shares([id!]));
        return this.#isGone(node) || rows.some(({ state }) => state === 'approved');
      });
  }

  /** A node shares something; the hub's database is then one from before, and must be told again. */
  async restoreAfterSharing(node: NodeHost): Promise<void> {
    const { hub } = this.world;
    hub.stir();
    const contents = await hub.store.read((tables) => tables.contents());
    await this.share(node);
    this.last(5_000, () => {
      hub.stop(true);
      const network = { ...contents.network, epoch: 'restored' };
      void hub.store
        .initialise((tables) => tables.replaceContents({ ...contents, network }))
        .then(() => hub.start());
      this.world.tell('a backup is restored');
      this.#acknowledged.delete(`that ${node.name} shares`); // an administrator must approve it again
    });
  }

  /** For 30 s a node's network changes all the time, on a slow line; it must reach its hub all the same. */
  shake(node: NodeHost): void {
    const { world } = this;
    const { site } = node.host;
    site.latency = 120;
    node.breakOff();
    const until = world.agenda.now + 30_000;
    world.tell(`the network of ${node.name} changes all the time`);
    const change = (): void => {
      if (world.agenda.now >= until) return;
      node.networkChanged();
      world.agenda.after(400, change);
    };
    change();
    const isAlone = this.#single !== undefined;
    world.agenda.after(20_000, () => {
      if (isAlone && !node.isAttached)
        this.#violate(`${node.name} does not reach its hub while its network changes`);
    });
    this.last(30_000, () => {
      site.latency = 0;
    });
  }

  /** Another machine runs with a copy of a node's state, and is stopped again. The two must not fight for the hub. */
  copy(node: NodeHost): void {
    const { world } = this;
    const copy = world.copyOf(node);
    world.tell(`another machine has a copy of the state of ${node.name}`);
    const before = node.connects;
    copy.start();
    this.last(60_000, () => {
      copy.kill();
      const connects = node.connects - before + copy.connects;
      world.tell(`the copy is stopped; the two have connected ${connects} times`);
      if (connects > MOST_CONNECTS)
        this.#violate(`${node.name} and its copy have connected ${connects} times`);
    });
  }

  async #administered(act: () => Promise<unknown>): Promise<boolean> {
    try {
      await act();
      return true;
    } catch {
      return false;
    }
  }

  #acknowledge(what: string, holds: () => Promise<boolean>): void {
    this.#acknowledged.set(what, holds);
  }

  /** An administrator looks now and then who waits for approval. */
  #approveOften(): void {
    const { hub, agenda } = this.world;
    const approve = (): void => {
      agenda.after(2_000, approve);
      if (!hub.isRunning) return;
      for (const { isRunning, id, disk } of this.world.nodes)
        if (isRunning && disk.node?.you.pending)
          void this.#administered(() => hub.administer({ op: 'approve', node: `${id}` }));
    };
    if (this.#options.seed % 10 === 3) approve();
  }

  #members(): NodeHost[] {
    return this.world.nodes.filter((node) => node.id !== undefined && !this.#isGone(node));
  }

  #isGone(node: NodeHost): boolean {
    return this.#gone.has(node) || (node.isRemoved && this.#mayHaveLeft.has(node));
  }

  /** Whether the hub's words arrive: where it has moved, nobody knows for a while that a connection is dead. */
  #isReachable({ host }: NodeHost): boolean {
    const { hub, hubSite, agenda } = this.world;
    const isThere = hub.isRunning && agenda.now - hub.movedAt > 60_000;
    return isThere && !host.isDown && !host.site.isCut && !hubSite.isCut;
  }

  #talk(): void {
    const { world } = this;
    const members = this.#members().filter((node) => node.isAttached && !node.disk.node?.you.pending);
    if (members.length < 2) return;
    const from = world.random.pick(members);
    const to = world.random.pick(members.filter((node) => node !== from));
    const talk: Talk = { from, to, sent: new Map() };
    this.#talks.push(talk);
    const send = (): void => {
      if (this.#isGone(from) || this.#isGone(to)) return;
      if (from.isRunning) talk.sent.set(from.interface.ask(to.id!), world.agenda.now);
      world.agenda.after(1_000, send);
    };
    send();
  }

  /** All faults end. */
  #heal(): void {
    for (const cure of this.#cures) cure();
    for (const node of this.world.nodes) {
      if (node.host.isDown) node.wake();
      if (!node.isRunning && !node.isRemoved && node.disk.node !== undefined) this.restart(node);
    }
    this.world.tell('everything is healed');
    this.#isQuiet = true;
  }

  #violate(what: string): void {
    this.violations.push(what);
    this.world.tell(`VIOLATED: ${what}`);
  }

  // What must hold.

  async #check(): Promise<void> {
    const { world } = this;
    assert.ok(this.#isQuiet && world.hub.isRunning);
    await this.#checkAcknowledged();
    await this.#checkUnique();
    this.#checkRosters();
    const before = this.#counts();
    const began = world.agenda.now;
    await world.runFor(TIMES.watched);
    this.#checkTalks(began);
    this.#checkQuiet(before);
  }

  async #checkAcknowledged(): Promise<void> {
    for (const [what, holds] of this.#acknowledged)
      if (!(await holds())) this.#violate(`the hub has forgotten ${what}`);
    for (const node of this.world.nodes) {
      if (node.disk.node === undefined) continue;
      const row = await this.#row(node.disk.node.you.id);
      if (row?.key !== node.key) this.#violate(`the hub has forgotten that ${node.name} has joined`);
    }
  }

  async #checkUnique(): Promise<void> {
    const { nodes } = await this.world.hub.store.read((tables) => tables.contents());
    const current = nodes.filter(({ state }) => state !== 'removed');
    const active = current.filter(({ state }) => state === 'active');
    const columns: readonly (readonly [string, readonly unknown[]])[] = [
      ['id', nodes.map(({ id }) => id)],
      ['key', current.map(({ key }) => key)],
      ['name', current.map(({ name }) => name)],
      ['IPv4 address', active.map(({ ipv4 }) => ipv4)],
      ['IPv6 address', active.map(({ ipv6 }) => ipv6)],
    ];
    for (const [what, values] of columns)
      if (new Set(values).size !== values.length) this.#violate(`two nodes have the same ${what}`);
  }

  #checkRosters(): void {
    const { members } = this.world.hub.registry;
    const active = Array.from(members.ids(), (id) => members.byId(id)!.row);
    for (const node of this.#members()) {
      if (!node.isAttached) {
        this.#violate(`${node.name} is not connected to the hub: ${node.hubState}`);
        continue;
      }
      const others = active.filter(({ id }) => id !== node.id).map(({ id }) => id);
      const peers = [...node.interface.peers.keys()].sort((a, b) => a - b);
      if (`${peers}` !== `${others.sort((a, b) => a - b)}`)
        this.#violate(`${node.name} has the peers ${peers}, and the members are ${others}`);
      for (const id of others)
        if (node.pathTo(id).startsWith('offline')) this.#violate(`${node.name} shows node ${id} as offline`);
      const names = active.map(({ name }) => name).sort();
      const found = node.names.map(({ name }) => name).sort();
      if (`${found}` !== `${names}`)
        this.#violate(`${node.name} finds ${found}, and the members are called ${names}`);
    }
    for (const node of this.#gone)
      if (members.byKey(node.key) !== undefined) this.#violate(`${node.name} is gone, and still a member`);
  }

  /** Nothing has gone wrong yet: where NATs allow it, the first packets find a direct path. */
  #checkFirstPaths(): void {
    for (const { from, to } of this.#talks)
      if (canBeDirect(from, to) && !from.isDirectTo(to.id!))
        this.#violate(`no direct path in ${PATH_TIME} ms: ${describe(from, to)}`);
  }

  #checkTalks(quiet: number): void {
    const end = this.world.agenda.now;
    const single = this.#single;
    const began = single === undefined ? quiet : Math.min(quiet, this.#overAt + single.recovers);
    for (const { from, to, sent } of this.#talks) {
      if (this.#isGone(from) || this.#isGone(to)) continue;
      const name = describe(from, to);
      let lost = 0; // in a row: one that is under way when the path changes may be lost
      for (const [sequence, at] of sent) {
        lost = at > this.#overAt && !from.interface.answers.has(sequence) ? lost + 1 : 0;
        if (lost < 2 || at > end - 2_000) continue;
        this.recovered = Math.max(this.recovered, at - this.#overAt);
        if (at < began) continue;
        const late = single === undefined ? '' : `, ${at - this.#overAt} ms after the end of what happened,`;
        this.#violate(`packets from ${name}${late} were not answered`);
        break;
      }
      if (canBeDirect(from, to) && !this.#mayBeSpoiled(from, to) && !from.isDirectTo(to.id!))
        this.#violate(`no direct path: ${name}`);
    }
  }

  /**
   * Without a relay nobody can say that a NAT is open: pings that come too early make a plain router choose another port,
   * and later ones may keep it from forgetting that.
   */
  #mayBeSpoiled(from: NodeHost, to: NodeHost): boolean {
    const isPlain = [from, to].some(({ host }) => host.site.nats.includes('plain'));
    return isPlain && this.world.happenings.some(({ text }) => /^the hub is|^no UDP reaches/.test(text));
  }

  #counts(): Counts {
    return new Map(
      this.#members().map((node) => [
        node,
        {
          ...{
            datagrams: node.datagrams,
            messages: node.messages,
            connects: node.connects,
            plans: node.plans,
          },
          moves: [...node.interface.peers.values()].reduce((sum, peer) => sum + peer.moves, 0),
        },
      ]),
    );
  }

  /** Nothing oscillates, and every state has a bounded number of packets. */
  #checkQuiet(before: Counts): void {
    for (const [node, now] of this.#counts()) {
      const then = before.get(node);
      if (then === undefined) continue;
      const talks = this.#talks.filter(({ from, to }) => from === node || to === node).length;
      const most = {
        /** For each who talks: 12 packets of its own, 10 pings and their answers, and another try or two. */
        datagrams: 6 + 60 * talks,
        messages: 4,
        connects: 0,
        plans: 0,
        moves: talks,
      };
      for (const what of ['datagrams', 'messages', 'connects', 'plans', 'moves'] as const) {
        const count = now[what] - then[what];
        if (count > most[what])
          this.#violate(`${node.name}: ${count} ${what} in ${TIMES.watched} ms, with ${talks} talks`);
      }
    }
  }

  async #row(id: number | undefined) {
    const [row] = await this.world.hub.store.read((tables) => tables.nodes({ ids: [id ?? 0] }));
    return row;
  }

  async #stateOf(id: number | undefined): Promise<string> {
    return (await this.#row(id))?.state ?? 'removed'; // and forgotten
  }
}

type Counts = ReadonlyMap<
  NodeHost,
  Readonly<Record<'datagrams' | 'messages' | 'connects' | 'plans' | 'moves', number>>
>;

const describe = (from: NodeHost, to: NodeHost): string =>
  `${from.name} at ${from.host.site.name} to ${to.name} at ${to.host.site.name}, ${from.pathTo(to.id!)}`;

/** Who lets in only a port that was asked for cannot be reached from a port that nobody knows. */
const IS_STRICT: ReadonlySet<NatKind> = new Set(['firewall', 'keepsPorts', 'easy', 'hard', 'plain']);

/** Whether simultaneous probes can open a direct path. */
function canBeDirect(a: NodeHost, b: NodeHost): boolean {
  const [one, other] = [a.host.site, b.host.site];
  if (one === other && one.wan !== undefined) return true;
  const isHard = (nats: readonly NatKind[]): boolean => nats.includes('hard');
  const isStrict = (nats: readonly NatKind[]): boolean => nats.some((kind) => IS_STRICT.has(kind));
  return !(isHard(one.nats) && isStrict(other.nats)) && !(isHard(other.nats) && isStrict(one.nats));
}
